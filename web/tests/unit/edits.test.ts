import { describe, expect, it } from "vitest";
import { boxesFromLayout, freeTag, keepLocked, layoutFromDoc, tagOfWords, tagsOfLayout } from "../../src/model/document";
import { applyEdit } from "../../src/model/edits";
import { box, cat, dog, scene } from "./documents";

const ids = (doc: { boxes: readonly { id: string }[] }): string[] => doc.boxes.map((other) => other.id);

describe("edits of boxes", () => {
  it("add at the end, in a colour that is free", () => {
    const doc = applyEdit(scene(dog, cat), { kind: "add", id: "new", phrase: "a hat", rect: { x: 1, y: 2, width: 3, height: 4 } });
    expect(ids(doc)).toEqual(["dog", "cat", "new"]);
    expect(doc.boxes[2]).toEqual({ id: "new", phrase: "a hat", rect: { x: 1, y: 2, width: 3, height: 4 }, tag: "sinopia", locked: false });
  });

  it("leave the document before untouched", () => {
    const before = scene(dog, cat);
    const copy = structuredClone(before);
    applyEdit(before, { kind: "rect", id: "dog", rect: cat.rect });
    applyEdit(before, { kind: "reorder", id: "cat", to: 0 });
    applyEdit(before, { kind: "remove", id: "dog" });
    expect(before).toEqual(copy);
  });

  it("put a copy beside its original, on the canvas even in the corner", () => {
    const doc = applyEdit(scene(dog, cat), { kind: "duplicate", id: "dog", newId: "two" });
    expect(ids(doc)).toEqual(["dog", "two", "cat"]);
    expect(doc.boxes[1]?.rect).toEqual({ ...dog.rect, x: 64, y: 224 });
    const corner = box("c", "a cup", [412, 412, 100, 100]);
    expect(applyEdit(scene(corner), { kind: "duplicate", id: "c", newId: "d" }).boxes[1]?.rect).toEqual({ x: 388, y: 388, width: 100, height: 100 });
  });

  it("reorder within the list", () => {
    const hat = box("hat", "a hat", [0, 0, 9, 9]);
    const doc = scene(dog, cat, hat);
    expect(ids(applyEdit(doc, { kind: "reorder", id: "hat", to: 0 }))).toEqual(["hat", "dog", "cat"]);
    expect(ids(applyEdit(doc, { kind: "reorder", id: "dog", to: 99 }))).toEqual(["cat", "hat", "dog"]);
    expect(applyEdit(doc, { kind: "reorder", id: "dog", to: -1 })).toBe(doc);
    expect(applyEdit(doc, { kind: "reorder", id: "nobody", to: 1 })).toBe(doc);
  });

  it("change words and tags of one box alone", () => {
    const doc = applyEdit(applyEdit(scene(dog, cat), { kind: "phrase", id: "cat", phrase: "a black cat" }), { kind: "tag", id: "cat", tag: "rose" });
    expect(doc.boxes).toEqual([dog, { ...cat, phrase: "a black cat", tag: "rose" }]);
  });

  it("of a box that is gone change nothing", () => {
    const doc = scene(dog);
    for (const edit of [{ kind: "remove", id: "x" }, { kind: "phrase", id: "x", phrase: "y" }, { kind: "lock", id: "x", locked: true }] as const) {
      expect(applyEdit(doc, edit)).toBe(doc);
    }
  });
});

describe("a locked box", () => {
  const locked = { ...dog, locked: true };

  it("is neither moved nor deleted, but can be renamed and unlocked", () => {
    const doc = scene(locked, cat);
    expect(applyEdit(doc, { kind: "rect", id: "dog", rect: cat.rect })).toBe(doc);
    expect(applyEdit(doc, { kind: "remove", id: "dog" })).toBe(doc);
    expect(ids(applyEdit(doc, { kind: "clear" }))).toEqual(["dog"]);
    expect(applyEdit(doc, { kind: "lock", id: "dog", locked: false }).boxes[0]).toEqual(dog);
  });

  it("stays through a plan that moves it or leaves it out", () => {
    const layout = layoutFromDoc(scene({ ...dog, rect: { x: 0, y: 0, width: 50, height: 50 } }, cat));
    expect(applyEdit(scene(locked), { kind: "plan", layout }).boxes[0]).toEqual(locked);
    const without = { ...layout, objects: layout.objects.slice(1) };
    expect(applyEdit(scene(locked), { kind: "plan", layout: without }).boxes.map((other) => other.phrase)).toEqual(["a cat", "a dog"]);
  });

  it("comes back once, though two boxes have its words", () => {
    const twin = { ...dog, id: "twin" };
    const layout = layoutFromDoc(scene(dog, twin));
    const boxes = applyEdit(scene(locked, twin), { kind: "plan", layout }).boxes;
    expect(boxes.map((other) => [other.id, other.locked])).toEqual([["dog", true], ["twin", false]]);
    expect(keepLocked([locked], [{ ...locked, rect: cat.rect }])).toEqual([locked]);
  });
});

it("a plan brings captions and canvas, and keeps names and tags of boxes it knows", () => {
  const layout = { canvas: { width: 768, height: 512 }, objects: [{ phrase: "a cat", bbox: [1, 2, 3, 4] as [number, number, number, number] }], background: "A room", negative: "dogs" };
  const doc = applyEdit(scene(dog, cat), { kind: "plan", layout });
  expect(doc).toMatchObject({ caption: "a dog and a cat", canvas: layout.canvas, background: "A room", negative: "dogs" });
  expect(doc.boxes).toEqual([{ ...cat, rect: { x: 1, y: 2, width: 3, height: 4 } }]);
});

it("another canvas scales the boxes", () => {
  const doc = applyEdit(scene(dog), { kind: "canvas", canvas: { width: 1024, height: 256 } });
  expect(doc.boxes[0]?.rect).toEqual({ x: 80, y: 100, width: 400, height: 110 });
});

it("a picture's boxes have the tags that the editor's have, in any order", () => {
  const now = [{ ...dog, tag: "rose" as const }, { ...cat, tag: "umber" as const }];
  const { canvas, background, negative } = scene();
  const objects = [cat, { phrase: "a tree" }, dog].map(({ phrase }) => ({ phrase, bbox: [0, 0, 1, 1] as [number, number, number, number] }));
  expect(tagsOfLayout({ canvas, objects, background, negative }, now)).toEqual(["umber", "sinopia", "rose"]);
});

it("tags are handed out evenly", () => {
  const layout = { canvas: { width: 9, height: 9 }, objects: Array.from({ length: 9 }, () => ({ phrase: "a cup", bbox: [0, 0, 1, 1] as [number, number, number, number] })), background: "", negative: "" };
  const boxes = boxesFromLayout(layout);
  expect(new Set(boxes.slice(0, 8).map((other) => other.tag)).size).toBe(8);
  expect(boxes[8]?.tag).toBe("sinopia");
  expect(freeTag(boxes)).toBe("azurite");
});

it("a frame has the colour that the words name, and follows them", () => {
  expect(["a blue dog", "two grey cats", "a rose in a red vase", "a dog"].map(tagOfWords)).toEqual(["azurite", "slate", "rose", null]);
  const dogs = applyEdit(scene(dog), { kind: "phrase", id: "dog", phrase: "a blue dog" });
  expect(dogs.boxes[0]?.tag).toBe("azurite");
  // A frame that was chosen by hand stays while the colour in the words does.
  const chosen = applyEdit(dogs, { kind: "tag", id: "dog", tag: "umber" });
  expect(applyEdit(chosen, { kind: "phrase", id: "dog", phrase: "a blue dog runs" }).boxes[0]?.tag).toBe("umber");
});
