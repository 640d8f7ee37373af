// What is edited: a caption and the boxes of its layout, with the tags and locks that layouts themselves do not know.
import type { Canvas, Layout } from "../api";
import { type Rect, bboxFromRect, rectFromBBox } from "./geometry";

/** Colours that tell boxes apart, named after pigments. The picture does not see them. */
export const TAGS = ["sinopia", "azurite", "verdigris", "ochre", "violet", "rose", "slate", "umber"] as const;
export type Tag = (typeof TAGS)[number];

export interface Box { id: string; phrase: string; rect: Rect; tag: Tag; locked: boolean }
export interface Doc { caption: string; canvas: Canvas; boxes: readonly Box[]; background: string; negative: string }

export const DEFAULT_CANVAS: Canvas = { width: 512, height: 512 };

export const emptyDoc = (caption = ""): Doc => ({ caption, canvas: DEFAULT_CANVAS, boxes: [], background: "", negative: "" });

let nextId = 0;
/** A name for a box, for this page's life. */
export const newId = (): string => `box-${++nextId}`;

/** The frame of a thing whose words name its colour: a blue dog in a red frame would look as if it were to be red. */
const TAG_OF_COLOR: readonly (readonly [Tag, RegExp])[] = [
  ["sinopia", /\b(red|scarlet|crimson|maroon)\b/i],
  ["azurite", /\b(blue|navy|cyan|turquoise|azure)\b/i],
  ["verdigris", /\b(green|teal|olive|emerald)\b/i],
  ["ochre", /\b(yellow|orange|gold|golden|beige)\b/i],
  ["violet", /\b(purple|violet|lilac|lavender)\b/i],
  ["rose", /\b(pink|magenta|rose)\b/i],
  ["slate", /\b(gr[ae]y|black|white|silver)\b/i],
  ["umber", /\b(brown|bronze|tan)\b/i],
];

/** The frame colour nearest to the first colour that the words name; null if they name none. */
export function tagOfWords(phrase: string): Tag | null {
  const found = TAG_OF_COLOR.map(([tag, words]) => ({ tag, at: phrase.search(words) })).filter(({ at }) => at >= 0);
  return found.sort((a, b) => a.at - b.at)[0]?.tag ?? null;
}

/** The first colour that the fewest boxes have. */
export function freeTag(boxes: readonly Box[]): Tag {
  const count = (tag: Tag): number => boxes.filter((box) => box.tag === tag).length;
  return TAGS.reduce((best, tag) => (count(tag) < count(best) ? tag : best));
}

export function layoutFromDoc(doc: Doc): Layout {
  return {
    canvas: doc.canvas,
    objects: doc.boxes.map((box) => ({ phrase: box.phrase, bbox: bboxFromRect(box.rect) })),
    background: doc.background,
    negative: doc.negative,
  };
}

/** A layout's boxes, each with the tag, the lock and the name of the box of `previous` that has its phrase, where there is one. */
export function boxesFromLayout(layout: Layout, previous: readonly Box[] = []): Box[] {
  const unused = [...previous];
  const boxes: Box[] = [];
  for (const object of layout.objects) {
    const index = unused.findIndex((box) => box.phrase === object.phrase);
    const known = index < 0 ? null : unused.splice(index, 1)[0];
    const rect = rectFromBBox(object.bbox);
    if (known) boxes.push({ ...known, rect });
    else boxes.push({ id: newId(), phrase: object.phrase, rect, tag: tagOfWords(object.phrase) ?? freeTag(boxes), locked: false });
  }
  return boxes;
}

/** The tags of a layout's boxes: those of the boxes of `previous` that they are, where there are such. */
export const tagsOfLayout = (layout: Layout, previous: readonly Box[]): Tag[] => boxesFromLayout(layout, previous).map((box) => box.tag);

/** Locked boxes of `previous` stay where they were: those that `next` moved go back, those it left out come back. */
export function keepLocked(previous: readonly Box[], next: readonly Box[]): Box[] {
  const locked = previous.filter((box) => box.locked);
  const kept = next.map((box) => locked.find((other) => other.id === box.id) ?? box);
  return [...kept, ...locked.filter((box) => !next.some((other) => other.id === box.id))];
}
