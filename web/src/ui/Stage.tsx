// The middle of the page: the layout, a picture, or two pictures compared.
import type { TargetedKeyboardEvent } from "preact";
import { type View, view } from "../store";
import { AskBar } from "./AskBar";
import { Candidates } from "./Candidates";
import { Compare } from "./Compare";
import { Editor } from "./Editor";
import { EditorTools } from "./EditorTools";
import { Findings } from "./Findings";
import { LiveJob } from "./LiveJob";
import { Picture } from "./Picture";

const VIEWS: readonly (readonly [View, string])[] = [["layout", "Layout"], ["picture", "Picture"], ["compare", "Compare"]];

export function Stage() {
  return (
    <section class="stage" aria-label="Canvas">
      <div class="stage-top">
        <Tabs />
        {view.value === "layout" && <EditorTools />}
      </div>
      <LiveJob />
      <div class="stage-view" role="tabpanel" id={`view-${view.value}`} aria-labelledby={`tab-${view.value}`}>
        {view.value === "layout" && <><div class="beside"><Editor /><Candidates /></div><Findings /><AskBar /></>}
        {view.value === "picture" && <Picture />}
        {view.value === "compare" && <Compare />}
      </div>
    </section>
  );
}

function Tabs() {
  const onKeyDown = (event: TargetedKeyboardEvent<HTMLDivElement>): void => {
    const by = event.key === "ArrowRight" ? 1 : event.key === "ArrowLeft" ? -1 : 0;
    if (by === 0) return;
    const at = VIEWS.findIndex(([id]) => id === view.value);
    const next = VIEWS[(at + by + VIEWS.length) % VIEWS.length];
    if (!next) return;
    view.value = next[0];
    document.getElementById(`tab-${next[0]}`)?.focus();
    event.preventDefault();
  };
  return (
    <div class="tabs" role="tablist" aria-label="View" onKeyDown={onKeyDown}>
      {VIEWS.map(([id, label]) => (
        <button
          key={id} type="button" role="tab" id={`tab-${id}`} aria-selected={view.value === id} aria-controls={view.value === id ? `view-${id}` : undefined}
          tabIndex={view.value === id ? 0 : -1} onClick={() => { view.value = id; }}
        >
          {label}
        </button>
      ))}
    </div>
  );
}
