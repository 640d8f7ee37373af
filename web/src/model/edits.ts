// The edits of a document, as data, and the one function that applies them.
import type { Canvas, Layout } from "../api";
import { type Box, type Doc, type Tag, boxesFromLayout, freeTag, keepLocked, tagOfWords } from "./document";
import { type Rect, moveRect, scaleRect } from "./geometry";

export type Edit =
  | { kind: "caption"; caption: string }
  | { kind: "background"; background: string }
  | { kind: "negative"; negative: string }
  | { kind: "canvas"; canvas: Canvas }
  | { kind: "add"; id: string; phrase: string; rect: Rect }
  | { kind: "remove"; id: string }
  | { kind: "duplicate"; id: string; newId: string }
  | { kind: "rect"; id: string; rect: Rect }
  | { kind: "phrase"; id: string; phrase: string }
  | { kind: "tag"; id: string; tag: Tag }
  | { kind: "lock"; id: string; locked: boolean }
  | { kind: "reorder"; id: string; to: number }
  /** A layout from a planner: locked boxes stay. */
  | { kind: "plan"; layout: Layout }
  /** Everything, from a file or a picture. */
  | { kind: "replace"; doc: Doc }
  | { kind: "clear" };

/** How far a copy lies from its original, in canvas pixels. */
const COPY_OFFSET = 24;

/** The document after an edit; the same object if it changes nothing. */
export function applyEdit(doc: Doc, edit: Edit): Doc {
  switch (edit.kind) {
    case "caption": return { ...doc, caption: edit.caption };
    case "background": return { ...doc, background: edit.background };
    case "negative": return { ...doc, negative: edit.negative };
    case "canvas": return resizeCanvas(doc, edit.canvas);
    case "add": {
      const box: Box = { id: edit.id, phrase: edit.phrase, rect: edit.rect, tag: tagOfWords(edit.phrase) ?? freeTag(doc.boxes), locked: false };
      return { ...doc, boxes: [...doc.boxes, box] };
    }
    case "remove": return changeFree(doc, edit.id, () => []);
    case "duplicate": return change(doc, edit.id, (box) => [box, copyOf(box, edit.newId, doc.canvas)]);
    case "rect": return changeFree(doc, edit.id, (box) => [{ ...box, rect: edit.rect }]);
    case "phrase": return change(doc, edit.id, (box) => [reworded(box, edit.phrase)]);
    case "tag": return change(doc, edit.id, (box) => [{ ...box, tag: edit.tag }]);
    case "lock": return change(doc, edit.id, (box) => [{ ...box, locked: edit.locked }]);
    case "reorder": return reorder(doc, edit.id, edit.to);
    case "plan": return plan(doc, edit.layout);
    case "replace": return edit.doc;
    case "clear": return { ...doc, boxes: doc.boxes.filter((box) => box.locked) };
  }
}

/** Another colour in its words is another frame. */
function reworded(box: Box, phrase: string): Box {
  const tag = tagOfWords(phrase);
  return { ...box, phrase, tag: tag !== null && tag !== tagOfWords(box.phrase) ? tag : box.tag };
}

function change(doc: Doc, id: string, by: (box: Box) => Box[]): Doc {
  if (!doc.boxes.some((box) => box.id === id)) return doc;
  return { ...doc, boxes: doc.boxes.flatMap((box) => (box.id === id ? by(box) : [box])) };
}

/** As {@link change}, unless the box is locked. */
function changeFree(doc: Doc, id: string, by: (box: Box) => Box[]): Doc {
  const box = doc.boxes.find((other) => other.id === id);
  return box && !box.locked ? change(doc, id, by) : doc;
}

function copyOf(box: Box, id: string, canvas: Canvas): Box {
  const there = moveRect(box.rect, COPY_OFFSET, COPY_OFFSET, canvas);
  // In the corner there is no room to the right: the copy would hide its original.
  const rect = there.x === box.rect.x && there.y === box.rect.y ? moveRect(box.rect, -COPY_OFFSET, -COPY_OFFSET, canvas) : there;
  return { ...box, id, rect, locked: false };
}

function reorder(doc: Doc, id: string, to: number): Doc {
  const from = doc.boxes.findIndex((box) => box.id === id);
  const box = doc.boxes[from];
  const index = Math.max(0, Math.min(to, doc.boxes.length - 1));
  if (!box || index === from) return doc;
  const boxes = doc.boxes.filter((other) => other.id !== id);
  boxes.splice(index, 0, box);
  return { ...doc, boxes };
}

function resizeCanvas(doc: Doc, canvas: Canvas): Doc {
  const boxes = doc.boxes.map((box) => ({ ...box, rect: scaleRect(box.rect, doc.canvas, canvas) }));
  return { ...doc, canvas, boxes };
}

function plan(doc: Doc, layout: Layout): Doc {
  const onCanvas = resizeCanvas(doc, layout.canvas).boxes;
  const boxes = keepLocked(onCanvas, boxesFromLayout(layout, onCanvas));
  return { ...doc, canvas: layout.canvas, boxes, background: layout.background, negative: layout.negative };
}
