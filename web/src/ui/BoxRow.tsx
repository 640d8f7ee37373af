// One box in the list: its words, and all else once it is selected.
import { useState } from "preact/hooks";
import { duplicateBox, removeBox, reorderBox, toggleLock } from "../commands/keyboard";
import { type Box, TAGS } from "../model/document";
import { type Rect, keepInside } from "../model/geometry";
import { doc, edit, endEdit, PHRASE_CHARS, selectedId } from "../store";
import { IconButton, NumberField } from "./controls";
import { Icon } from "./icons";
import { useWanted } from "./useWanted";

/** What a row carries while it is dragged, so that a file from outside is not taken for one. */
const ROW_TYPE = "application/x-sinopia-box";

interface BoxRowProps { box: Box; index: number; count: number }

export function BoxRow({ box, index, count }: BoxRowProps) {
  const [isTarget, setTarget] = useState(false);
  const [isGripped, setGripped] = useState(false);
  const isSelected = selectedId.value === box.id;
  return (
    <li
      class={`row tag-${box.tag}${isSelected ? " selected" : ""}${isTarget ? " target" : ""}`}
      draggable={isGripped}
      onDragStart={(event) => event.dataTransfer?.setData(ROW_TYPE, box.id)}
      onDragEnd={() => setGripped(false)}
      onDragOver={(event) => {
        if (!event.dataTransfer?.types.includes(ROW_TYPE)) return;
        event.preventDefault();
        setTarget(true);
      }}
      onDragLeave={() => setTarget(false)}
      onDrop={(event) => {
        setTarget(false);
        const id = event.dataTransfer?.getData(ROW_TYPE);
        if (!id) return;
        event.preventDefault();
        edit({ kind: "reorder", id, to: index });
      }}
    >
      <div class="row-line">
        <span class="grip" aria-hidden="true" title="Drag to reorder" onPointerDown={() => setGripped(true)} onPointerUp={() => setGripped(false)}>
          <span class="dot" /><Icon name="grip" />
        </span>
        <Words box={box} index={index} />
        <IconButton icon={box.locked ? "lock" : "unlock"} label={`${box.locked ? "Unlock" : "Lock"} ${nameOf(box, index)}`} pressed={box.locked} onClick={() => toggleLock(box.id)} />
      </div>
      {isSelected && <Properties box={box} index={index} count={count} />}
    </li>
  );
}

const nameOf = (box: Box, index: number): string => box.phrase.trim() || `box ${index + 1}`;

function Words({ box, index }: { box: Box; index: number }) {
  const input = useWanted<HTMLInputElement>(box.id, "words");
  return (
    <input
      ref={input} class="words" value={box.phrase} maxLength={PHRASE_CHARS} aria-label={`Words of box ${index + 1}`} placeholder="What is here?"
      onFocus={() => { selectedId.value = box.id; }}
      onInput={(event) => edit({ kind: "phrase", id: box.id, phrase: event.currentTarget.value }, `phrase:${box.id}`)}
      onBlur={endEdit}
      onKeyDown={(event) => {
        if (event.key !== "Enter" && event.key !== "Escape") return;
        if (event.ctrlKey || event.metaKey) return;
        // Back to the canvas, where the arrow keys move the box.
        document.getElementById(`canvas-${box.id}`)?.focus();
        event.preventDefault();
      }}
    />
  );
}

function Properties({ box, index, count }: BoxRowProps) {
  const name = nameOf(box, index);
  const { canvas } = doc.value;
  const set = (change: Partial<Rect>): void => edit({ kind: "rect", id: box.id, rect: keepInside({ ...box.rect, ...change }, canvas) }, `numbers:${box.id}`);
  return (
    <div class="properties">
      <div class="numbers">
        <NumberField label="Left" value={Math.round(box.rect.x)} min={0} max={canvas.width} disabled={box.locked} onChange={(x) => set({ x })} />
        <NumberField label="Top" value={Math.round(box.rect.y)} min={0} max={canvas.height} disabled={box.locked} onChange={(y) => set({ y })} />
        <NumberField label="Width" value={Math.round(box.rect.width)} min={1} max={canvas.width} disabled={box.locked} onChange={(width) => set({ width })} />
        <NumberField label="Height" value={Math.round(box.rect.height)} min={1} max={canvas.height} disabled={box.locked} onChange={(height) => set({ height })} />
      </div>
      <div class="swatches" role="radiogroup" aria-label={`Frame colour of ${name}, on this page only`}>
        <span class="field-label" title="It tells the boxes apart on this page. What colour a thing has is said in its words">Frame</span>
        {TAGS.map((tag) => (
          <label key={tag} class={`swatch tag-${tag}`} title={tag}>
            <input type="radio" name={`tag-${box.id}`} checked={box.tag === tag} aria-label={tag} onChange={() => edit({ kind: "tag", id: box.id, tag })} />
            <span />
          </label>
        ))}
      </div>
      <div class="row-buttons">
        <IconButton icon="up" label={`Move ${name} up the list`} disabled={index === 0} onClick={() => reorderBox(box.id, -1)} />
        <IconButton icon="down" label={`Move ${name} down the list`} disabled={index === count - 1} onClick={() => reorderBox(box.id, 1)} />
        <IconButton icon="copy" label={`Duplicate ${name} (Ctrl+D)`} onClick={() => duplicateBox(box.id)} />
        <IconButton icon="trash" label={`Delete ${name}`} disabled={box.locked} onClick={() => removeBox(box.id)} />
      </div>
    </div>
  );
}
