// A file to pass on: caption, boxes with tags and locks, and how to paint them.
import type { Layout } from "../api";
import { type Box, type Doc, TAGS, boxesFromLayout, layoutFromDoc } from "./document";
import type { Settings } from "./settings";

/** What a shared file starts with, and what tells it from a bare layout. */
const FORMAT = "sinopia-scene";
const VERSION = 1;

interface SharedFile {
  format: typeof FORMAT;
  version: number;
  caption: string;
  layout: Layout;
  boxes: Pick<Box, "tag" | "locked">[];
  paint: Partial<Settings> | null;
}

export interface Shared { doc: Doc; paint: Partial<Settings> | null }

export function writeShared(doc: Doc, settings: Settings | null): string {
  const boxes = doc.boxes.map(({ tag, locked }) => ({ tag, locked }));
  const file: SharedFile = { format: FORMAT, version: VERSION, caption: doc.caption, layout: layoutFromDoc(doc), boxes, paint: settings };
  return `${JSON.stringify(file, null, 2)}\n`;
}

/** A shared file's content; null if the text is something else. Throws with a sentence if it is one and cannot be used. */
export function readShared(text: string): Shared | null {
  let file: Partial<SharedFile>;
  try {
    file = JSON.parse(text) as Partial<SharedFile>;
  } catch {
    return null;
  }
  if (file === null || typeof file !== "object" || file.format !== FORMAT) return null;
  if (typeof file.version !== "number" || file.version > VERSION) throw new Error("The file was written by a newer version of this page.");
  if (typeof file.caption !== "string" || !isLayout(file.layout)) throw new Error("The file lacks a caption, or a layout with boxes of four numbers.");
  const tags = Array.isArray(file.boxes) ? file.boxes : [];
  const boxes = boxesFromLayout(file.layout).map((box, index) => {
    const tag = TAGS.find((name) => name === tags[index]?.tag) ?? box.tag;
    return { ...box, tag, locked: tags[index]?.locked === true };
  });
  const { canvas, background, negative } = file.layout;
  return { doc: { caption: file.caption, canvas, boxes, background, negative }, paint: file.paint ?? null };
}

function isLayout(value: unknown): value is Layout {
  const layout = value as Layout | undefined;
  const isSide = (side: unknown): boolean => typeof side === "number" && side >= 1;
  return (
    isSide(layout?.canvas?.width) && isSide(layout?.canvas?.height) && typeof layout?.background === "string" && typeof layout.negative === "string" &&
    Array.isArray(layout.objects) &&
    layout.objects.every(({ phrase, bbox }) => typeof phrase === "string" && Array.isArray(bbox) && bbox.length === 4 && bbox.every(Number.isFinite))
  );
}
