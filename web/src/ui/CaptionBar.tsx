// The caption, and the one button to press next: Plan while there are no boxes, Paint after that.
import { useEffect, useRef, useState } from "preact/hooks";
import { paint } from "../commands/paint";
import { plan } from "../commands/plan";
import { EXAMPLES } from "../examples";
import { candidateCount, captionLimit, doc, edit, endEdit, planning, settings } from "../store";

const COUNTS = [1, 2, 3, 4];

export function CaptionBar() {
  const { caption, boxes } = doc.value;
  const isPlanned = boxes.length > 0;
  return (
    <section class="caption-bar" aria-label="Caption">
      <div class="caption-row">
        <CaptionInput caption={caption} />
        <div class="caption-buttons">
          <PlanButton isMain={!isPlanned} label={isPlanned ? "Plan again" : "Plan"} />
          <button type="button" class={isPlanned ? "main" : "second"} disabled={!settings.value} title="Ctrl+Shift+Enter" onClick={() => void paint()}>Paint</button>
        </div>
      </div>
      {!isPlanned && (
        <p class="examples">
          <span>Or try</span>
          {EXAMPLES.filter((example) => example !== caption).map((example) => (
            <button key={example} type="button" class="chip" onClick={() => edit({ kind: "caption", caption: example })}>{example}</button>
          ))}
        </p>
      )}
    </section>
  );
}

function CaptionInput({ caption }: { caption: string }) {
  const area = useRef<HTMLTextAreaElement>(null);
  const [width, setWidth] = useState(0);
  useEffect(() => {
    const watch = new ResizeObserver(([entry]) => setWidth(entry?.contentRect.width ?? 0));
    if (area.current) watch.observe(area.current);
    return () => watch.disconnect();
  }, []);
  useEffect(() => {
    // As high as its text: `field-sizing` is not in every browser yet.
    const element = area.current;
    if (!element) return;
    element.style.height = "auto";
    element.style.height = `${element.scrollHeight + 2}px`;
  }, [caption, width]);
  return (
    <label class="caption-field">
      <span class="unseen">Caption: what the picture shows</span>
      <textarea
        ref={area} rows={1} maxLength={captionLimit.value} spellcheck={true} value={caption} placeholder="What should the picture show? Say how many, which colours, what stands where, what must not be there."
        onInput={(event) => edit({ kind: "caption", caption: event.currentTarget.value }, "caption")}
        onBlur={endEdit}
        onKeyDown={(event) => {
          // A caption is one paragraph: Enter goes on to the next thing.
          if (event.key !== "Enter" || event.shiftKey || event.ctrlKey || event.metaKey || event.isComposing) return;
          event.preventDefault();
          void plan();
        }}
      />
    </label>
  );
}

function PlanButton({ isMain, label }: { isMain: boolean; label: string }) {
  const running = planning.value;
  // One button for both, so that the keyboard stays on it.
  return (
    <div class="split">
      <button
        type="button" class={`${isMain ? "main" : "second"}${running ? " busy" : ""}`} title={running ? running.doing : "Lay the caption out as boxes (Enter)"}
        onClick={() => { if (running) running.abort.abort(); else void plan(); }}
      >
        {running ? "Stop" : label}
      </button>
      <label class="count" title="How many layouts to choose from">
        <span class="unseen">Layouts to choose from</span>
        <select value={String(candidateCount.value)} onChange={(event) => { candidateCount.value = Number(event.currentTarget.value); }}>
          {COUNTS.map((count) => <option key={count} value={String(count)} selected={count === candidateCount.value}>{`×${count}`}</option>)}
        </select>
      </label>
    </div>
  );
}
