import { expect, it } from "vitest";
import { readShared, writeShared } from "../../src/model/share";
import { cat, dog, scene } from "./documents";

const withoutIds = (boxes: readonly { id: string }[]): object[] => boxes.map(({ id: _, ...rest }) => rest);

it("a shared scene comes back whole", () => {
  const doc = scene({ ...dog, locked: true }, cat);
  const back = readShared(writeShared(doc, null));
  expect({ ...back?.doc, boxes: withoutIds(back?.doc.boxes ?? []) }).toEqual({ ...doc, boxes: withoutIds(doc.boxes) });
});

it("other texts are not taken for one", () => {
  for (const text of ["", "null", "[]", "7", "Background prompt: A beach", JSON.stringify({ canvas: { width: 1, height: 1 }, objects: [] })]) {
    expect(readShared(text)).toBeNull();
  }
});

it("a newer or a broken file is refused with a sentence", () => {
  const file = JSON.parse(writeShared(scene(dog), null)) as { version: number; caption: unknown; layout: { objects: { bbox: unknown }[] } };
  expect(() => readShared(JSON.stringify({ ...file, version: 2 }))).toThrow(/newer version/);
  expect(() => readShared(JSON.stringify({ ...file, caption: 7 }))).toThrow(/lacks a caption/);
  expect(() => readShared(JSON.stringify({ ...file, layout: { ...file.layout, objects: [{ phrase: "a", bbox: [1, 2, 3] }] } }))).toThrow(/four numbers/);
  expect(() => readShared(JSON.stringify({ ...file, layout: null }))).toThrow(/layout/);
});

it("unknown tags fall back and missing ones do no harm", () => {
  const file = JSON.parse(writeShared(scene(dog, cat), null)) as Record<string, unknown>;
  const back = readShared(JSON.stringify({ ...file, boxes: [{ tag: "gold", locked: "yes" }] }));
  expect(back?.doc.boxes.map(({ tag, locked }) => [tag, locked])).toEqual([["sinopia", false], ["azurite", false]]);
});
