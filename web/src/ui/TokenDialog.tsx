// Asks for the server's token, once a tab.
import { useState } from "preact/hooks";
import { unlock } from "../commands/connection";
import { connection } from "../store";
import { Dialog } from "./Dialog";
import { Field } from "./controls";

export function TokenDialog() {
  const now = connection.value;
  return now.state === "locked" ? <Ask wasRefused={now.refused} /> : null;
}

function Ask({ wasRefused }: { wasRefused: boolean }) {
  const [secret, setSecret] = useState("");
  return (
    <Dialog title="This server asks for its token">
      <p>Whoever started the server has it. It is kept for this tab alone.</p>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          if (secret.trim()) void unlock(secret.trim());
        }}
      >
        <Field label="Token"><input type="password" autocomplete="off" value={secret} onInput={(event) => setSecret(event.currentTarget.value)} /></Field>
        {wasRefused && <p class="refused" role="alert">The server does not take that token.</p>}
        <button type="submit" class="main">Continue</button>
      </form>
    </Dialog>
  );
}
