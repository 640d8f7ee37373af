// Drags on the canvas: a box is moved, pulled at a handle, or drawn.
import { signal } from "@preact/signals";
import { addBox, inWords } from "../commands/keyboard";
import { type Handle, MIN_SIDE, type Point, type Rect, keepInside, moveRect, rectBetween, resizeRect } from "../model/geometry";
import { type Guides, snapMove, snapResize } from "../model/snap";
import { announcement, doc, edit, endEdit, selectedId, snapping, undoEdit } from "../store";

interface Drag {
  kind: "move" | "resize" | "draw";
  id: string;
  from: Point;
  start: Rect;
  handle: Handle;
  /** Small trembles of a click are no drag. */
  hasMoved: boolean;
  part: string;
}

const NO_HANDLE: Handle = { dx: 0, dy: 0 };
const DRAW_HANDLE: Handle = { dx: 1, dy: 1 };
/** Screen pixels that a pointer goes before a drag begins. */
const TREMBLE = 3;
/** Screen pixels from which an edge attracts. */
const REACH = 6;

let drag: Drag | null = null;
let dragNumber = 0;
export const guides = signal<Guides>({ x: null, y: null });
/** The box being drawn. */
export const ghost = signal<Rect | null>(null);

function pointOf(event: PointerEvent, paper: HTMLElement): { point: Point; perPixel: number } {
  const bounds = paper.getBoundingClientRect();
  const perPixel = doc.value.canvas.width / bounds.width; // canvas pixels a screen pixel
  return { point: { x: (event.clientX - bounds.left) * perPixel, y: (event.clientY - bounds.top) * perPixel }, perPixel };
}

function begin(event: PointerEvent, paper: HTMLElement, begun: Pick<Drag, "kind" | "id" | "start" | "handle">): void {
  drag = { ...begun, from: pointOf(event, paper).point, hasMoved: false, part: `drag:${++dragNumber}` };
  paper.setPointerCapture(event.pointerId);
}

export function beginMove(event: PointerEvent, paper: HTMLElement, id: string): void {
  selectedId.value = id;
  const box = doc.value.boxes.find((other) => other.id === id);
  if (box && !box.locked) begin(event, paper, { kind: "move", id, start: box.rect, handle: NO_HANDLE });
}

export function beginResize(event: PointerEvent, paper: HTMLElement, id: string, handle: Handle): void {
  const box = doc.value.boxes.find((other) => other.id === id);
  if (box && !box.locked) begin(event, paper, { kind: "resize", id, start: box.rect, handle });
}

export function beginDraw(event: PointerEvent, paper: HTMLElement): void {
  selectedId.value = null;
  begin(event, paper, { kind: "draw", id: "", start: { x: 0, y: 0, width: 0, height: 0 }, handle: DRAW_HANDLE });
}

export function onPointerMove(event: PointerEvent, paper: HTMLElement): void {
  if (!drag) return;
  const { point, perPixel } = pointOf(event, paper);
  const [dx, dy] = [point.x - drag.from.x, point.y - drag.from.y];
  if (!drag.hasMoved && Math.hypot(dx, dy) < TREMBLE * perPixel) return;
  drag.hasMoved = true;
  const isSnapping = snapping.value !== event.altKey; // Alt turns it over for this drag
  const rect = dragged(drag, point, dx, dy, isSnapping ? REACH * perPixel : null);
  if (drag.kind === "draw") ghost.value = rect;
  else edit({ kind: "rect", id: drag.id, rect }, drag.part);
}

function dragged(now: Drag, point: Point, dx: number, dy: number, reach: number | null): Rect {
  const { canvas, boxes } = doc.value;
  const others = boxes.filter((box) => box.id !== now.id).map((box) => box.rect);
  const free =
    now.kind === "move" ? moveRect(now.start, dx, dy, canvas)
    : now.kind === "resize" ? resizeRect(now.start, now.handle, dx, dy, canvas)
    : rectBetween(within(now.from), within(point));
  if (reach === null) {
    guides.value = { x: null, y: null };
    return free;
  }
  if (now.kind === "draw") {
    // Both corners go to the grid, whichever way the pointer went.
    const corner = snapResize(snapResize(free, { dx: -1, dy: -1 }, others, canvas, reach).rect, DRAW_HANDLE, others, canvas, reach);
    guides.value = corner.guides;
    return cut(corner.rect);
  }
  const snapped = now.kind === "move" ? snapMove(free, others, canvas, reach) : snapResize(free, now.handle, others, canvas, reach);
  guides.value = snapped.guides;
  return now.kind === "move" ? keepInside(snapped.rect, canvas) : snapped.rect;
}

const within = ({ x, y }: Point): Point => ({ x: Math.max(0, Math.min(x, doc.value.canvas.width)), y: Math.max(0, Math.min(y, doc.value.canvas.height)) });
const cut = (rect: Rect): Rect => rectBetween(within(rect), within({ x: rect.x + rect.width, y: rect.y + rect.height }));

export function endDrag(): void {
  if (!drag) return;
  const drawn = ghost.value;
  if (drag.kind === "draw" && drawn && drawn.width >= MIN_SIDE && drawn.height >= MIN_SIDE) addBox(drawn);
  const box = doc.value.boxes.find((other) => other.id === drag?.id);
  if (drag.hasMoved && box) announcement.value = inWords(box.rect);
  stop();
}

/** Gives a drag up: all is as before it. Whether there was one. */
export function abandonDrag(): boolean {
  if (!drag) return false;
  const { kind, hasMoved } = drag;
  stop();
  if (kind !== "draw" && hasMoved) undoEdit();
  return true;
}

function stop(): void {
  drag = null;
  ghost.value = null;
  guides.value = { x: null, y: null };
  endEdit();
}
