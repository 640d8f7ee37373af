// Boxes of the editor in canvas pixels, y down: moved, resized and kept on the canvas.
import type { BBox, Canvas } from "../api";

export interface Rect { x: number; y: number; width: number; height: number }
export interface Point { x: number; y: number }

/** A handle by the sides it pulls: -1 left or top, 1 right or bottom, 0 neither. */
export interface Handle { dx: -1 | 0 | 1; dy: -1 | 0 | 1 }

/** Clockwise from the top left corner. */
export const HANDLES: readonly Handle[] = [
  { dx: -1, dy: -1 }, { dx: 0, dy: -1 }, { dx: 1, dy: -1 }, { dx: 1, dy: 0 },
  { dx: 1, dy: 1 }, { dx: 0, dy: 1 }, { dx: -1, dy: 1 }, { dx: -1, dy: 0 },
];

/** Smallest side of a box that is drawn or resized here, in canvas pixels: the models see cells of 8. */
export const MIN_SIDE = 8;

export const right = (rect: Rect): number => rect.x + rect.width;
export const bottom = (rect: Rect): number => rect.y + rect.height;
export const area = (rect: Rect): number => rect.width * rect.height;
const clamp = (value: number, low: number, high: number): number => Math.max(low, Math.min(value, high));

export const rectFromBBox = ([x, y, width, height]: BBox): Rect => ({ x, y, width, height });
/** Whole pixels, which is all that layouts of people have. */
export function bboxFromRect(rect: Rect): BBox {
  const [x, y] = [Math.round(rect.x), Math.round(rect.y)];
  return [x, y, Math.max(1, Math.round(right(rect)) - x), Math.max(1, Math.round(bottom(rect)) - y)];
}

/** The rectangle between two corners, in any order. */
export function rectBetween(a: Point, b: Point): Rect {
  return { x: Math.min(a.x, b.x), y: Math.min(a.y, b.y), width: Math.abs(a.x - b.x), height: Math.abs(a.y - b.y) };
}

/** The same size, pushed onto the canvas; what is larger than the canvas is cut. */
export function keepInside(rect: Rect, canvas: Canvas): Rect {
  const width = Math.min(rect.width, canvas.width);
  const height = Math.min(rect.height, canvas.height);
  return { x: clamp(rect.x, 0, canvas.width - width), y: clamp(rect.y, 0, canvas.height - height), width, height };
}

export function moveRect(rect: Rect, dx: number, dy: number, canvas: Canvas): Rect {
  return keepInside({ ...rect, x: rect.x + dx, y: rect.y + dy }, canvas);
}

/** Pulls `handle` by (`dx`, `dy`): the other sides stay, no side gets shorter than {@link MIN_SIDE} or leaves the canvas. */
export function resizeRect(rect: Rect, handle: Handle, dx: number, dy: number, canvas: Canvas): Rect {
  const [x0, x1] = pullSide(rect.x, right(rect), handle.dx, dx, canvas.width);
  const [y0, y1] = pullSide(rect.y, bottom(rect), handle.dy, dy, canvas.height);
  return { x: x0, y: y0, width: x1 - x0, height: y1 - y0 };
}

function pullSide(low: number, high: number, side: -1 | 0 | 1, by: number, limit: number): [number, number] {
  if (side < 0) return [clamp(low + by, Math.min(0, low), Math.max(high - MIN_SIDE, Math.min(low, 0))), high];
  if (side > 0) return [low, clamp(high + by, low + MIN_SIDE, Math.max(limit, low + MIN_SIDE))];
  return [low, high];
}

/** The rectangle on a canvas of another size. */
export function scaleRect(rect: Rect, from: Canvas, to: Canvas): Rect {
  const [sx, sy] = [to.width / from.width, to.height / from.height];
  return { x: rect.x * sx, y: rect.y * sy, width: rect.width * sx, height: rect.height * sy };
}
