// The boxes as a list, and the captions of what is around and what must not be there.
import { addBox } from "../commands/keyboard";
import { boxLimit, captionLimit, doc, edit, endEdit } from "../store";
import { BoxRow } from "./BoxRow";
import { Field, IconButton, NumberField } from "./controls";

export function ScenePanel() {
  const { boxes, background, negative } = doc.value;
  return (
    <aside class="panel scene-panel" aria-label="Scene">
      <div class="panel-head">
        <h2>Boxes{boxes.length > 0 && <span class="count-note">{boxes.length}</span>}</h2>
        <IconButton icon="plus" label={boxes.length < boxLimit.value ? "New box" : `No more than ${boxLimit.value} boxes`} disabled={boxes.length >= boxLimit.value} onClick={() => addBox()} />
      </div>
      {boxes.length === 0 ? (
        <p class="empty">Each box is one thing of the picture, in its place. A plan makes them; you move, name and add to them before anything is painted.</p>
      ) : (
        <ol class="boxes">{boxes.map((box, index) => <BoxRow key={box.id} box={box} index={index} count={boxes.length} />)}</ol>
      )}
      <h2>Around them</h2>
      <Field label="Background">
        <textarea rows={2} maxLength={captionLimit.value} value={background} placeholder="A photo of a beach" onBlur={endEdit}
          onInput={(event) => edit({ kind: "background", background: event.currentTarget.value }, "background")} />
      </Field>
      <Field label="Must not be there">
        <textarea rows={1} maxLength={captionLimit.value} value={negative} placeholder="people, text" onBlur={endEdit}
          onInput={(event) => edit({ kind: "negative", negative: event.currentTarget.value }, "negative")} />
      </Field>
      <CanvasSize />
    </aside>
  );
}

const MAX_SIDE = 16_384;

function CanvasSize() {
  const { canvas } = doc.value;
  const set = (change: Partial<typeof canvas>): void => edit({ kind: "canvas", canvas: { ...canvas, ...change } }, "canvas");
  return (
    <details>
      <summary>Canvas <small>{canvas.width} × {canvas.height}</small></summary>
      <div class="pair">
        <NumberField label="Width" value={canvas.width} min={64} max={MAX_SIDE} onChange={(width) => set({ width })} />
        <NumberField label="Height" value={canvas.height} min={64} max={MAX_SIDE} onChange={(height) => set({ height })} />
      </div>
    </details>
  );
}
