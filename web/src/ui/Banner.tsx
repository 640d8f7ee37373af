// Across the page while the server is gone.
import { retryNow } from "../commands/connection";
import { connection } from "../store";

export function Banner() {
  const now = connection.value;
  if (now.state !== "gone") return null;
  return (
    <div class="banner" role="alert">
      <p>The server does not answer. What you edit is kept; painting goes on when it is back.</p>
      <button type="button" class="second small" onClick={retryNow}>Try now <span aria-hidden="true">({now.retryInSecs})</span></button>
    </div>
  );
}
