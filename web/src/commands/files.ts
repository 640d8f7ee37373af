// Files in and out: our pictures, layouts in any format, scenes to share.
import { type ForeignPicture, type Job, type Layout, type Recipe, api, send } from "../api";
import { type Doc, boxesFromLayout, layoutFromDoc } from "../model/document";
import { idOfFile, isFromFile } from "../model/job";
import { isPng, otherPicture } from "../model/media";
import { readSeed, seedOf } from "../model/seed";
import { notOffered, settingsFromForeign, settingsFromRecipe } from "../model/settings";
import { readShared, writeShared } from "../model/share";
import { announcement, candidates, dismissErrors, doc, edit, notify, options, putJob, selectedId, settings, shownId, strip, view } from "../store";
import { report } from "./connection";
import { namelessBox } from "./plan";

/** Formats that layouts are written in, and how their files end. */
export const FORMATS = [
  { id: "json", label: "Layout JSON", ending: "layout.json", type: "application/json" },
  { id: "text", label: "LLM-grounded Diffusion text", ending: "layout.txt", type: "text/plain" },
  { id: "coco", label: "COCO", ending: "coco.json", type: "application/json" },
  { id: "ideogram", label: "Ideogram caption", ending: "ideogram.json", type: "application/json" },
  { id: "omost", label: "Omost canvas", ending: "omost.txt", type: "text/plain" },
  { id: "flux3", label: "FLUX 3 prompt", ending: "flux3.txt", type: "text/plain" },
  { id: "moss", label: "MOSS-Image layout", ending: "moss.json", type: "application/json" },
  { id: "svg", label: "Drawing (SVG)", ending: "layout.svg", type: "image/svg+xml" },
] as const;
export type Format = (typeof FORMATS)[number];

/** Those that have no negative caption. */
const WITHOUT_NEGATIVE: readonly string[] = ["ideogram", "omost", "flux3", "moss"];

/** Largest text that is read without asking the server, in bytes. */
const MAX_TEXT_BYTES = 16 * 1024 * 1024;

/** Opens a file of any kind that the page knows. */
export async function open(file: File): Promise<void> {
  dismissErrors();
  try {
    const start = new Uint8Array(await file.slice(0, 16).arrayBuffer());
    const other = otherPicture(start);
    if (other) throw new Error(`it is a ${other} picture. Only PNG pictures keep how they were made.`);
    await (isPng(start) ? openPicture(file) : openText(file));
    candidates.value = [];
    selectedId.value = null;
  } catch (error) {
    report(error, `Cannot open ${file.name}`);
  }
}

async function openPicture(file: File): Promise<void> {
  const recipe = await api.recipe(file);
  if ("foreign" in recipe) return takeForeign(file, recipe.foreign);
  const id = idOfFile(file);
  restore(recipe);
  putJob(jobFromRecipe(id, recipe, URL.createObjectURL(file), file.lastModified));
  strip.value = [id, ...strip.value.filter((other) => other !== id)];
  shownId.value = id;
  view.value = "picture";
  const missing = options.value ? notOffered(recipe, options.value) : [];
  if (missing.length === 0) notify("info", `${file.name}: caption, layout and settings are as they were.`);
  else notify("info", `${file.name}: caption and layout are as they were.`, `This server does not have ${missing.join(", ")}: a picture painted here will be another.`);
}

/** A picture of another program: what it says is taken over as far as it means something here. */
function takeForeign(file: File, picture: ForeignPicture): void {
  const caption = picture.caption ?? picture.prompt ?? "";
  edit({ kind: "replace", doc: { ...doc.value, caption, boxes: [], background: "", negative: picture.negative ?? "" } });
  if (settings.value) settings.value = settingsFromForeign(picture, settings.value);
  view.value = "layout";
  const program = [picture.program, picture.version].filter(Boolean).join(" ");
  const notes = picture.notes.join("; ");
  notify("info", `${file.name} was made by ${program}: its ${caption ? "prompt, " : ""}seed and size were taken over.`, notes || null);
  announcement.value = `Taken over from ${program}`;
}

function jobFromRecipe(id: string, recipe: Recipe, image: string, lastModified: number): Job {
  const time = new Date(lastModified).toISOString();
  return { ...recipe, caption: recipe.caption ?? "", id, state: "done", created: time, started: null, finished: time, position: null, progress: null, error: null, image, verdict: null, warnings: [] };
}

/** Brings back everything that a picture was made with; throws, and changes nothing, if this server cannot. */
export function restore(recipe: Recipe): void {
  const { layout } = recipe;
  const how = options.value && settings.value ? settingsFromRecipe(recipe, options.value, settings.value) : null;
  const now = doc.value;
  const next: Doc = layout
    ? { caption: recipe.caption ?? "", canvas: layout.canvas, boxes: boxesFromLayout(layout, now.boxes), background: layout.background, negative: layout.negative }
    : { ...now, caption: recipe.caption ?? "", boxes: [], background: "", negative: "" };
  edit({ kind: "replace", doc: next });
  if (how) settings.value = how;
  announcement.value = "Caption, layout and settings were restored";
}

async function openText(file: File): Promise<void> {
  let notes: string[] = [];
  if (file.size > MAX_TEXT_BYTES) throw new Error("it is larger than any layout; at most 16 MB are read.");
  const text = await file.text();
  const shared = readShared(text);
  if (shared) {
    edit({ kind: "replace", doc: shared.doc });
    if (shared.paint && settings.value && options.value) {
      const { methods, models, text_encoders: encoders } = options.value;
      const paint = { ...shared.paint };
      const seed = readSeed(String(paint.seed));
      if (seed !== null) paint.seed = seed;
      else delete paint.seed;
      // Another server may offer other things.
      if (!methods.some((method) => method.name === paint.method)) {
        notes.push(`the method “${paint.method}” is not known here: “${settings.value.method}” is kept`);
        delete paint.method;
      }
      if (!models.some((model) => model.id === paint.model)) delete paint.model;
      if (paint.textEncoder && !encoders.includes(paint.textEncoder)) delete paint.textEncoder;
      if (paint.negativeEncoder && !encoders.includes(paint.negativeEncoder)) delete paint.negativeEncoder;
      settings.value = { ...settings.value, ...paint };
    }
  } else {
    const read = JSON.parse(await api.convert(text, "sinopia")) as { layout: Layout; notes: string[] };
    const { layout } = read;
    notes = read.notes;
    const { canvas, background, negative } = layout;
    edit({ kind: "replace", doc: { caption: doc.value.caption, canvas, boxes: boxesFromLayout(layout, doc.value.boxes), background, negative } });
  }
  view.value = "layout";
  notify("info", `${file.name} was opened.`, notes.length ? notes.join("; ") : null);
}

/** Writes the layout in one of the {@link FORMATS}. */
export async function exportAs(format: Format): Promise<void> {
  if (namelessBox()) return;
  const json = `${JSON.stringify(layoutFromDoc(doc.value), null, 2)}\n`;
  try {
    const text = format.id === "json" ? json : await api.convert(json, format.id);
    save(new Blob([text], { type: format.type }), `${fileName(doc.value.caption)}.${format.ending}`);
    const isLost = WITHOUT_NEGATIVE.includes(format.id) && doc.value.negative !== "";
    if (isLost) notify("info", `${format.label} has no place for what must not be there: “${doc.value.negative}” is not in the file.`);
  } catch (error) {
    report(error, `Cannot write ${format.label}`);
  }
}

/** Writes everything of the page to one file. */
export function share(): void {
  save(new Blob([writeShared(doc.value, settings.value)], { type: "application/json" }), `${fileName(doc.value.caption)}.sinopia.json`);
}

export async function download(job: Job): Promise<void> {
  const name = `${fileName(job.caption)}-${job.method}-${seedOf(job)}.png`;
  try {
    if (isFromFile(job)) saveAddress(job.image ?? "", name);
    else save(await (await send(api.imagePath(job.id))).blob(), name);
  } catch (error) {
    report(error, "Cannot download the picture");
  }
}

function save(blob: Blob, name: string): void {
  const address = URL.createObjectURL(blob);
  saveAddress(address, name);
  // The browser reads the blob after the click.
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}

function saveAddress(address: string, name: string): void {
  const link = document.createElement("a");
  link.href = address;
  link.download = name;
  link.click();
}

/** A caption's first words, as a file's name. */
function fileName(caption: string): string {
  const words = caption.toLowerCase().replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-+|-+$/g, "");
  return words.slice(0, 48).replace(/-+$/, "") || "sinopia";
}
