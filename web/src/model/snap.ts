// Snapping: to sides and middles of the other boxes and of the canvas where they are near, to the grid elsewhere.
import type { Canvas } from "../api";
import { type Handle, MIN_SIDE, type Rect, bottom, right } from "./geometry";

/** Spacing of the grid in canvas pixels: one cell of Stable Diffusion's latents. */
export const GRID = 8;

export interface Guides { x: number | null; y: number | null }
export interface Snapped { rect: Rect; guides: Guides }

interface Lines { x: number[]; y: number[] }

function linesOf(others: readonly Rect[], canvas: Canvas): Lines {
  return {
    x: [0, canvas.width / 2, canvas.width, ...others.flatMap((rect) => [rect.x, rect.x + rect.width / 2, right(rect)])],
    y: [0, canvas.height / 2, canvas.height, ...others.flatMap((rect) => [rect.y, rect.y + rect.height / 2, bottom(rect)])],
  };
}

interface Pull { by: number; line: number | null }

/** How far one of `points` has to go to lie on a line within `reach`; to the grid by the first of them if none does. */
function pull(points: readonly number[], lines: readonly number[], reach: number): Pull {
  let best: Pull | null = null;
  for (const point of points) {
    for (const line of lines) {
      const by = line - point;
      if (Math.abs(by) <= reach && (best === null || Math.abs(by) < Math.abs(best.by))) best = { by, line };
    }
  }
  const first = points[0] ?? 0;
  return best ?? { by: Math.round(first / GRID) * GRID - first, line: null };
}

/** Snaps a box that is moved; `reach` is in canvas pixels. */
export function snapMove(rect: Rect, others: readonly Rect[], canvas: Canvas, reach: number): Snapped {
  const lines = linesOf(others, canvas);
  const x = pull([rect.x, right(rect), rect.x + rect.width / 2], lines.x, reach);
  const y = pull([rect.y, bottom(rect), rect.y + rect.height / 2], lines.y, reach);
  return { rect: { ...rect, x: rect.x + x.by, y: rect.y + y.by }, guides: { x: x.line, y: y.line } };
}

/** Snaps the sides that `handle` pulls; a side that would make the box too small stays where it is. */
export function snapResize(rect: Rect, handle: Handle, others: readonly Rect[], canvas: Canvas, reach: number): Snapped {
  const lines = linesOf(others, canvas);
  const guides: Guides = { x: null, y: null };
  let { x: x0, y: y0 } = rect;
  let [x1, y1] = [right(rect), bottom(rect)];
  if (handle.dx !== 0) {
    const side = pull([handle.dx < 0 ? x0 : x1], lines.x, reach);
    const [low, high] = handle.dx < 0 ? [x0 + side.by, x1] : [x0, x1 + side.by];
    if (high - low >= MIN_SIDE) [x0, x1, guides.x] = [low, high, side.line];
  }
  if (handle.dy !== 0) {
    const side = pull([handle.dy < 0 ? y0 : y1], lines.y, reach);
    const [low, high] = handle.dy < 0 ? [y0 + side.by, y1] : [y0, y1 + side.by];
    if (high - low >= MIN_SIDE) [y0, y1, guides.y] = [low, high, side.line];
  }
  return { rect: { x: x0, y: y0, width: x1 - x0, height: y1 - y0 }, guides };
}
