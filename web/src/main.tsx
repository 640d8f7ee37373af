// Starts the page: brings back what was open, connects, draws it.
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
void connect(catchUp);
let isStarted = false;
// Building the page takes a while: its outline, which index.html has, goes first. A page that nobody looks at gets no frames.
requestAnimationFrame(() => setTimeout(start));
setTimeout(start, 100);

function start(): void {
  const root = document.getElementById("app");
  if (!root || isStarted) return;
  isStarted = true;
  root.textContent = "";
  render(<App />, root);
}
