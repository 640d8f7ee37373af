import { expect, it } from "vitest";
import { snapMove, snapResize } from "../../src/model/snap";

const canvas = { width: 512, height: 512 };
const other = { x: 203, y: 301, width: 100, height: 60 };

it("goes to the grid where nothing is near", () => {
  const { rect, guides } = snapMove({ x: 43, y: 61, width: 50, height: 50 }, [], canvas, 6);
  expect(rect).toEqual({ x: 40, y: 64, width: 50, height: 50 });
  expect(guides).toEqual({ x: null, y: null });
});

it("prefers a neighbour's edge to the grid and shows it", () => {
  const { rect, guides } = snapMove({ x: 149, y: 100, width: 50, height: 50 }, [other], canvas, 6);
  expect(rect.x + rect.width).toBe(203);
  expect(guides.x).toBe(203);
});

it("takes the nearest of several lines", () => {
  // The right side is 4 from the neighbour's left; the middle is 1 from the canvas's middle.
  expect(snapMove({ x: 229, y: 0, width: 52, height: 50 }, [{ ...other, x: 285 }], canvas, 6).guides.x).toBe(256);
});

it("snaps to the canvas's edge and middle", () => {
  expect(snapMove({ x: 460, y: 230, width: 50, height: 50 }, [], canvas, 6).rect).toEqual({ x: 462, y: 231, width: 50, height: 50 });
});

it("resizing snaps only the pulled sides", () => {
  const { rect } = snapResize({ x: 3, y: 5, width: 198, height: 50 }, { dx: 1, dy: 0 }, [other], canvas, 6);
  expect(rect).toEqual({ x: 3, y: 5, width: 200, height: 50 });
});

it("a side that would leave no box stays", () => {
  const small = { x: 199, y: 40, width: 9, height: 40 };
  expect(snapResize(small, { dx: 1, dy: 0 }, [other], canvas, 6).rect).toEqual(small);
});
