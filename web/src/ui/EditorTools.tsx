// The tools above the layout.
import { signal } from "@preact/signals";
import { addBox } from "../commands/keyboard";
import { canRedo, canUndo, doc, edit, redoEdit, snapping, undoEdit } from "../store";
import { IconButton } from "./controls";

/** Whether a finger on the empty canvas draws a box instead of scrolling the page. */
export const drawing = signal(false);

export function EditorTools() {
  return (
    <div class="tools" role="toolbar" aria-label="Layout">
      <IconButton icon="undo" label="Undo (Ctrl+Z)" disabled={!canUndo.value} onClick={undoEdit} />
      <IconButton icon="redo" label="Redo (Ctrl+Y)" disabled={!canRedo.value} onClick={redoEdit} />
      <IconButton icon="plus" label="New box (N)" onClick={() => addBox()} />
      <span class="touch-only">
        <IconButton icon="draw" label="Draw with a finger" pressed={drawing.value} onClick={() => { drawing.value = !drawing.value; }} />
      </span>
      <IconButton icon="magnet" label="Snap to grid and edges" pressed={snapping.value} onClick={() => { snapping.value = !snapping.value; }} />
      <IconButton icon="trash" label="Delete all boxes that are not locked" disabled={!doc.value.boxes.some((box) => !box.locked)} onClick={() => edit({ kind: "clear" })} />
    </div>
  );
}
