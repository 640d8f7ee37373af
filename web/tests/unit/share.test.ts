import { expect, it } from "vitest";
import { readShared, writeShared } from "../../src/model/share";
import { settingsFromOptions } from "../../src/model/settings";
import { cat, dog, scene } from "./documents";
import { offered } from "./offered";

const withoutIds = (boxes: readonly { id: string }[]): object[] => boxes.map(({ id: _, ...rest }) => rest);

it("a shared scene comes back whole", () => {
  const doc = scene({ ...dog, locked: true }, cat);
  const back = readShared(writeShared(doc, null));
  expect({ ...back?.doc, boxes: withoutIds(back?.doc.boxes ?? []) }).toEqual({ ...doc, boxes: withoutIds(doc.boxes) });
});

it("how to paint goes with it", () => {
  const paint = settingsFromOptions(offered, null);
  const how = { ...paint, textEncoder: "ella", guidanceInterval: [0, 0.6] as [number, number], deepEvery: 2, mergeTokens: 2 };
  expect(readShared(writeShared(scene(dog), how))?.paint).toEqual(how);
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
