// The keys, and how the page is meant.
import { HELP } from "../commands/keyboard";
import { helpOpen } from "../store";
import { Dialog } from "./Dialog";

export function HelpDialog() {
  if (!helpOpen.value) return null;
  return (
    <Dialog title="How it works" onClose={() => { helpOpen.value = false; }}>
      <ol class="how">
        <li><strong>Plan</strong> turns the caption into boxes: what goes where. Nothing is painted yet.</li>
        <li>Move, name, add or delete boxes, or ask for a change in words. Locked boxes stay through every plan.</li>
        <li><strong>Paint</strong> makes the picture, and a detector says for each box whether its object is there.</li>
        <li>Every picture carries all it was made with: drop it on this page to go on from it.</li>
      </ol>
      <h3>Keys</h3>
      <dl class="keys">
        {HELP.map(([keys, what]) => <div key={keys}><dt><kbd>{keys}</kbd></dt><dd>{what}</dd></div>)}
      </dl>
      <p class="fine-print"><a href="third-party.txt" target="_blank" rel="noreferrer">Software by others</a> in this page</p>
      <button type="button" class="main" onClick={(event) => event.currentTarget.closest("dialog")?.close()}>Close</button>
    </Dialog>
  );
}
