// Starts the page: brings back what was open, draws it, connects.
import { render } from "preact";
import "./styles/base.css";
import "./styles/shell.css";
import "./styles/controls.css";
import "./styles/editor.css";
import "./styles/panels.css";
import "./styles/pictures.css";
import "./styles/overlays.css";
import { connect } from "./commands/connection";
import { catchUp } from "./commands/start";
import { keepSession, restoreSession } from "./session";
import { applyTheme } from "./theme";
import { keepTitle } from "./title";
import { App } from "./ui/App";

applyTheme();
restoreSession();
keepSession();
keepTitle();
const root = document.getElementById("app");
if (root) {
  root.textContent = "";
  render(<App />, root);
}
void connect(catchUp);
