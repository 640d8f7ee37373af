// Documents to edit in tests.
import type { Box, Doc } from "../../src/model/document";

export const box = (id: string, phrase: string, [x, y, width, height]: [number, number, number, number], more: Partial<Box> = {}): Box => ({
  id, phrase, rect: { x, y, width, height }, tag: "slate", locked: false, ...more,
});

export const scene = (...boxes: Box[]): Doc => ({ caption: "a dog and a cat", canvas: { width: 512, height: 512 }, boxes, background: "A beach", negative: "people" });

export const dog = box("dog", "a dog", [40, 200, 200, 220]);
export const cat = box("cat", "a cat", [290, 150, 190, 190], { tag: "azurite" });
