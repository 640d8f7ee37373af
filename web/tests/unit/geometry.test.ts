import { describe, expect, it } from "vitest";
import { HANDLES, MIN_SIDE, bboxFromRect, bottom, keepInside, moveRect, rectBetween, resizeRect, right, scaleRect } from "../../src/model/geometry";

const canvas = { width: 512, height: 256 };
const rect = { x: 100, y: 50, width: 80, height: 60 };

describe("moving", () => {
  it("keeps the size and stops at each side of the canvas", () => {
    expect(moveRect(rect, -500, -500, canvas)).toEqual({ ...rect, x: 0, y: 0 });
    expect(moveRect(rect, 500, 500, canvas)).toEqual({ ...rect, x: 432, y: 196 });
    expect(moveRect(rect, 3, -4, canvas)).toEqual({ ...rect, x: 103, y: 46 });
  });

  it("cuts what is larger than the canvas", () => {
    expect(keepInside({ x: -50, y: 10, width: 900, height: 20 }, canvas)).toEqual({ x: 0, y: 10, width: 512, height: 20 });
  });
});

describe("resizing", () => {
  it("moves only the sides of the handle, for all eight", () => {
    expect(new Set(HANDLES.map(({ dx, dy }) => `${dx},${dy}`)).size).toBe(8);
    for (const handle of HANDLES) {
      const pulled = resizeRect(rect, handle, 10, 20, canvas);
      expect([pulled.x, right(pulled)]).toEqual([handle.dx < 0 ? 110 : 100, handle.dx > 0 ? 190 : 180]);
      expect([pulled.y, bottom(pulled)]).toEqual([handle.dy < 0 ? 70 : 50, handle.dy > 0 ? 130 : 110]);
    }
  });

  it("leaves a smallest box instead of turning it over", () => {
    expect(resizeRect(rect, { dx: 1, dy: 1 }, -500, -500, canvas)).toEqual({ ...rect, width: MIN_SIDE, height: MIN_SIDE });
    expect(resizeRect(rect, { dx: -1, dy: -1 }, 500, 500, canvas)).toEqual({ x: 172, y: 102, width: MIN_SIDE, height: MIN_SIDE });
  });

  it("stops at the canvas", () => {
    expect(resizeRect(rect, { dx: 1, dy: 1 }, 999, 999, canvas)).toEqual({ x: 100, y: 50, width: 412, height: 206 });
    expect(resizeRect(rect, { dx: -1, dy: -1 }, -999, -999, canvas)).toEqual({ x: 0, y: 0, width: 180, height: 110 });
  });
});

it("a box lies between two corners in any order", () => {
  const corners = [{ x: 10, y: 80 }, { x: 60, y: 20 }] as const;
  expect(rectBetween(...corners)).toEqual({ x: 10, y: 20, width: 50, height: 60 });
  expect(rectBetween(corners[1], corners[0])).toEqual(rectBetween(...corners));
});

it("boxes are rounded by their sides, so that neighbours stay neighbours, and never to nothing", () => {
  expect(bboxFromRect({ x: 0, y: 0, width: 10.5, height: 4 })).toEqual([0, 0, 11, 4]);
  expect(bboxFromRect({ x: 10.5, y: 0, width: 9.5, height: 4 })).toEqual([11, 0, 9, 4]);
  expect(bboxFromRect({ x: 3, y: 3, width: 0.2, height: 0.2 })).toEqual([3, 3, 1, 1]);
});

it("a canvas of another shape stretches boxes with it", () => {
  expect(scaleRect(rect, canvas, { width: 256, height: 512 })).toEqual({ x: 50, y: 100, width: 40, height: 120 });
});
