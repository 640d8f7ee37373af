// The canvas with the boxes of the layout, to be drawn, moved and pulled.
import { useEffect, useRef } from "preact/hooks";
import { onBoxKey } from "../commands/keyboard";
import type { Box } from "../model/document";
import { HANDLES, area } from "../model/geometry";
import { doc, planning, selectedId, wanted } from "../store";
import { drawing } from "./EditorTools";
import { useWanted } from "./useWanted";
import { Icon } from "./icons";
import { Paper, placed } from "./Paper";
import { abandonDrag, beginDraw, beginMove, beginResize, endDrag, ghost, guides, onPointerMove } from "./gestures";

export function Editor() {
  const paper = useRef<HTMLDivElement>(null);
  const { canvas, boxes } = doc.value;

  useEffect(() => {
    const onKey = (event: KeyboardEvent): void => {
      if (event.key === "Escape" && abandonDrag()) event.stopPropagation();
    };
    document.addEventListener("keydown", onKey, true);
    return () => document.removeEventListener("keydown", onKey, true);
  }, []);

  return (
    <>
      <p id="box-keys" class="unseen">Arrow keys move, Shift and arrow keys resize, Enter edits the words, Delete deletes, Control D duplicates, L locks.</p>
      <Paper
        canvas={canvas} paperRef={paper} class={drawing.value ? "editor drawing" : "editor"} label="Layout"
        onPointerDown={(event) => {
          if (event.button !== 0 || !paper.current || event.target !== paper.current) return;
          if (event.pointerType === "touch" && !drawing.value) selectedId.value = null;
          else beginDraw(event, paper.current);
        }}
        onPointerMove={(event) => { if (paper.current) onPointerMove(event, paper.current); }}
        onPointerUp={endDrag}
        onPointerCancel={() => abandonDrag()}
      >
        {boxes.length === 0 && !planning.value && <EmptyCanvas />}
        {planning.value && <p class="canvas-note busy">{planning.value.doing}…</p>}
        {boxes.map((box) => <BoxOnCanvas key={box.id} box={box} paper={() => paper.current} />)}
        <DrawnBox />
        <GuideLines />
      </Paper>
    </>
  );
}

/** Read here and not in the editor, so that a pointer's way redraws this box alone. */
function DrawnBox() {
  return ghost.value && <div class="ghost" style={placed(ghost.value, doc.value.canvas)} />;
}

function EmptyCanvas() {
  return (
    <div class="empty-canvas">
      <p><strong>Plan</strong> lays the caption out as boxes.</p>
      <p>Or drag here to draw one yourself.</p>
    </div>
  );
}

function BoxOnCanvas({ box, paper }: { box: Box; paper: () => HTMLElement | null }) {
  const { canvas } = doc.value;
  const element = useWanted<HTMLDivElement>(box.id, "box");
  const isSelected = selectedId.value === box.id;
  const name = box.phrase.trim() || "a box without words";
  const { x, y, width, height } = box.rect;
  return (
    <div
      ref={element} id={`canvas-${box.id}`} class={`box tag-${box.tag}${isSelected ? " selected" : ""}${box.locked ? " locked" : ""}`} role="button" tabIndex={0} aria-pressed={isSelected}
      aria-roledescription="box" aria-describedby="box-keys"
      aria-label={`${name}${box.locked ? ", locked" : ""}: left ${Math.round(x)}, top ${Math.round(y)}, ${Math.round(width)} wide, ${Math.round(height)} high`}
      // Small boxes lie on top, as they do in the picture; the selected one above all.
      style={{ ...placed(box.rect, canvas), zIndex: isSelected ? 100_000 : Math.round(90_000 * (1 - Math.min(1, area(box.rect) / (canvas.width * canvas.height)))) }}
      onFocus={() => { selectedId.value = box.id; }}
      onKeyDown={(event) => onBoxKey(event, box.id)}
      onDblClick={() => { wanted.value = { id: box.id, part: "words" }; }}
      onPointerDown={(event) => {
        const sheet = paper();
        if (event.button === 0 && sheet) beginMove(event, sheet, box.id);
      }}
    >
      <span class="box-words">{box.locked && <Icon name="lock" />}{name}</span>
      {isSelected && !box.locked && HANDLES.map((handle) => (
        <span
          key={`${handle.dx}${handle.dy}`} class="handle" data-x={handle.dx} data-y={handle.dy} aria-hidden="true"
          onPointerDown={(event) => {
            event.stopPropagation();
            const sheet = paper();
            if (event.button === 0 && sheet) beginResize(event, sheet, box.id, handle);
          }}
        />
      ))}
    </div>
  );
}

function GuideLines() {
  const { canvas } = doc.value;
  const { x, y } = guides.value;
  return (
    <>
      {x !== null && <div class="guide vertical" style={{ left: `${(100 * x) / canvas.width}%` }} />}
      {y !== null && <div class="guide horizontal" style={{ top: `${(100 * y) / canvas.height}%` }} />}
    </>
  );
}
