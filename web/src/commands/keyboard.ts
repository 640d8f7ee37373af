// The keyboard, for the page and for the box that has the focus. HELP is what the page tells about it.
import { type Box, newId } from "../model/document";
import { type Rect, keepInside, moveRect, resizeRect } from "../model/geometry";
import { GRID } from "../model/snap";
import { announcement, boxLimit, doc, edit, endEdit, helpOpen, notify, redoEdit, selected, selectedId, snapping, undoEdit, view, wanted } from "../store";
import { paint } from "./paint";
import { plan } from "./plan";

export const HELP: readonly (readonly [string, string])[] = [
  ["Tab, Shift+Tab", "next, previous box"],
  ["Arrow keys", "move the box by 8 pixels (with Alt: by 1)"],
  ["Shift+arrow keys", "resize it at its right and lower side"],
  ["Enter or F2", "edit its words"],
  ["Delete", "delete it"],
  ["Ctrl+D", "duplicate it"],
  ["L", "lock or unlock it"],
  ["[ and ]", "earlier, later in the list"],
  ["N", "new box in the middle"],
  ["Esc", "select nothing; give up a drag"],
  ["Ctrl+Z, Ctrl+Shift+Z or Ctrl+Y", "undo, redo"],
  ["Ctrl+Enter", "plan, or paint once there are boxes"],
  ["Ctrl+Shift+Enter", "paint"],
  ["?", "this list"],
];

const isTyping = (target: EventTarget | null): boolean =>
  target instanceof HTMLElement && target.matches("input:not([type=range]):not([type=checkbox]):not([type=radio]), textarea, select");

/** Keys that work everywhere; those that change the selected box, where it is seen. */
export function onPageKey(event: KeyboardEvent): void {
  if (document.querySelector("dialog[open]")) return;
  const seenId = view.value === "layout" ? selectedId.value : null;
  const command = event.ctrlKey || event.metaKey;
  const key = event.key.toLowerCase();
  if (command && key === "enter") {
    void (event.shiftKey || doc.value.boxes.length > 0 ? paint() : plan());
  } else if (isTyping(event.target)) {
    return; // a text field has an undo of its own
  } else if (command && (key === "y" || (key === "z" && event.shiftKey))) {
    redoEdit();
  } else if (command && key === "z") {
    undoEdit();
  } else if (command && key === "d" && seenId) {
    duplicateBox(seenId);
  } else if (key === "delete" && seenId) {
    removeBox(seenId);
  } else if (!command && !event.altKey && key === "n") {
    addBox();
  } else if (event.key === "?") {
    helpOpen.value = true;
  } else {
    return;
  }
  event.preventDefault();
}

const ARROWS: Record<string, readonly [number, number]> = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/** Keys of the box that has the focus. */
export function onBoxKey(event: KeyboardEvent, id: string): void {
  const command = event.ctrlKey || event.metaKey;
  const arrow = ARROWS[event.key];
  if (arrow) nudge(id, arrow, event);
  else if (event.key === "Delete" || event.key === "Backspace") removeBox(id);
  else if (command && event.key.toLowerCase() === "d") duplicateBox(id);
  else if (event.key === "Enter" || event.key === "F2") wanted.value = { id, part: "words" };
  else if (event.key === "Escape") selectedId.value = null;
  else if (!command && event.key.toLowerCase() === "l") toggleLock(id);
  else if (event.key === "[" || event.key === "]") reorderBox(id, event.key === "[" ? -1 : 1);
  else return;
  event.preventDefault();
  event.stopPropagation();
}

function nudge(id: string, [dx, dy]: readonly [number, number], event: KeyboardEvent): void {
  const box = doc.value.boxes.find((other) => other.id === id);
  if (!box) return;
  if (box.locked) return tellLocked(box);
  const step = event.altKey || !snapping.value ? 1 : GRID;
  const { canvas } = doc.value;
  const rect: Rect = event.shiftKey
    ? resizeRect(box.rect, { dx: dx === 0 ? 0 : 1, dy: dy === 0 ? 0 : 1 }, dx * step, dy * step, canvas)
    : moveRect(box.rect, dx * step, dy * step, canvas);
  edit({ kind: "rect", id, rect }, `nudge:${id}`);
  announcement.value = inWords(rect);
}

const tellLocked = ({ phrase }: Box): void => notify("info", `${phrase || "The box"} is locked`, "L or the lock in the list unlocks it.");

export const inWords = ({ x, y, width, height }: Rect): string => `left ${Math.round(x)}, top ${Math.round(y)}, ${Math.round(width)} wide, ${Math.round(height)} high`;

/** Adds a box and asks for its words. */
export function addBox(rect?: Rect): void {
  const { canvas, boxes } = doc.value;
  if (boxes.length >= boxLimit.value) return notify("info", `A layout has at most ${boxLimit.value} boxes.`);
  const side = Math.min(canvas.width, canvas.height) * 0.375;
  const middle = { x: (canvas.width - side) / 2, y: (canvas.height - side) / 2, width: side, height: side };
  const id = newId();
  edit({ kind: "add", id, phrase: "", rect: keepInside(rect ?? middle, canvas) });
  selectedId.value = id;
  wanted.value = { id, part: "words" };
  view.value = "layout";
  announcement.value = "New box. Say what it shows.";
}

export function removeBox(id: string): void {
  const { boxes } = doc.value;
  const index = boxes.findIndex((box) => box.id === id);
  const box = boxes[index];
  if (!box) return;
  if (box.locked) return tellLocked(box);
  edit({ kind: "remove", id });
  // The keyboard goes on at the neighbour, not at the top of the page.
  selectedId.value = (doc.value.boxes[index] ?? doc.value.boxes[index - 1])?.id ?? null;
  announcement.value = `${box.phrase || "The box"} was deleted`;
  if (selectedId.value) wanted.value = { id: selectedId.value, part: "box" };
}

export function duplicateBox(id: string): void {
  if (doc.value.boxes.length >= boxLimit.value) return notify("info", `A layout has at most ${boxLimit.value} boxes.`);
  endEdit();
  const copy = newId();
  edit({ kind: "duplicate", id, newId: copy });
  selectedId.value = copy;
  announcement.value = `Copy of ${selected.value?.phrase ?? "the box"}`;
  wanted.value = { id: copy, part: "box" };
}

export function toggleLock(id: string): void {
  const box = doc.value.boxes.find((other) => other.id === id);
  if (!box) return;
  edit({ kind: "lock", id, locked: !box.locked });
  announcement.value = box.locked ? "Unlocked" : "Locked";
}

export function reorderBox(id: string, by: number): void {
  const index = doc.value.boxes.findIndex((box) => box.id === id);
  edit({ kind: "reorder", id, to: index + by });
  announcement.value = `Number ${doc.value.boxes.findIndex((box) => box.id === id) + 1} of ${doc.value.boxes.length}`;
}
