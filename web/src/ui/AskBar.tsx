// A change asked for in words.
import { useState } from "preact/hooks";
import { askForChange } from "../commands/plan";
import { doc, options, planning } from "../store";

export function AskBar() {
  const [words, setWords] = useState("");
  if (doc.value.boxes.length === 0) return null;
  // Some planners lay out captions and change nothing: better said before someone asks.
  if (options.value?.planner.edits === false) {
    return <p class="ask-note">Changes in words need a larger language model: start the server with <code>--llm-model</code>.</p>;
  }
  const isBusy = planning.value !== null;
  return (
    <form
      class="ask"
      onSubmit={(event) => {
        event.preventDefault();
        if (words.trim() && !isBusy) void askForChange(words.trim()).then((done) => { if (done) setWords(""); });
      }}
    >
      <label>
        <span class="unseen">Ask for a change in words</span>
        <input value={words} maxLength={1000} placeholder="Ask for a change: “move the dog up”, “add a hat”" onInput={(event) => setWords(event.currentTarget.value)} />
      </label>
      <button type="submit" class="second" disabled={isBusy || !words.trim()}>{isBusy ? "Asking…" : "Ask"}</button>
    </form>
  );
}
