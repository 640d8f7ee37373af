// The page's whole state, and the few ways to change its document. What talks to the server is in commands/.
import { computed, signal } from "@preact/signals";
import type { Candidate, Finding, Job, Options } from "./api";
import { type Doc, emptyDoc } from "./model/document";
import { type Edit, applyEdit } from "./model/edits";
import { type History, commit, endPart, redo, startHistory, undo } from "./model/history";
import type { Settings } from "./model/settings";

export type View = "layout" | "picture" | "compare";
export type Connection = { state: "ok" } | { state: "gone"; retryInSecs: number } | { state: "locked"; refused: boolean };
export interface Notice {
  id: number;
  tone: "error" | "info";
  message: string;
  hint: string | null;
  action: { label: string; afterSecs: number; run: () => void } | null;
}
/** A call to the planner under way. */
export interface Planning { doing: string; abort: AbortController }

export const history = signal<History<Doc>>(startHistory(emptyDoc()));
export const doc = computed(() => history.value.present);
export const canUndo = computed(() => history.value.past.length > 0);
export const canRedo = computed(() => history.value.future.length > 0);
export const selectedId = signal<string | null>(null);
export const selected = computed(() => doc.value.boxes.find((box) => box.id === selectedId.value) ?? null);

export const options = signal<Options | null>(null);
export const settings = signal<Settings | null>(null);
export const method = computed(() => options.value?.methods.find((other) => other.name === settings.value?.method) ?? null);

/** How much the server reads: boxes of a layout, letters of a box's words, letters of captions. */
export const boxLimit = computed(() => options.value?.limits.boxes ?? 200);
/** Longest words of a box: the limit of the server's document. */
export const PHRASE_CHARS = 300;
export const captionLimit = computed(() => options.value?.limits.caption_chars ?? 4000);

export const planning = signal<Planning | null>(null);
export const candidates = signal<readonly Candidate[]>([]);
export const chosenCandidate = signal(0);
export const candidateCount = signal(1);
export const findings = signal<readonly Finding[]>([]);

/** Every job that was seen, and pictures from files under names that start with `file:`. */
export const jobs = signal<ReadonlyMap<string, Job>>(new Map());
/** The strip's jobs, newest first. */
export const strip = signal<readonly string[]>([]);
export const stripNext = signal<string | null>(null);
export const search = signal("");
/** The newest preview of a job being painted, as a data: address. */
export const previews = signal<ReadonlyMap<string, string>>(new Map());
export const shownId = signal<string | null>(null);
export const shown = computed(() => (shownId.value === null ? null : (jobs.value.get(shownId.value) ?? null)));
/** Which try of the shown job is looked at; null is its picture. */
export const shownAttempt = signal<number | null>(null);
export const compared = signal<readonly [string | null, string | null]>([null, null]);

export const view = signal<View>("layout");
export const snapping = signal(true);
export const boxesOverPicture = signal(true);
export const connection = signal<Connection>({ state: "ok" });
export const notices = signal<readonly Notice[]>([]);
/** What a screen reader is told. */
export const announcement = signal("");
export const helpOpen = signal(false);
/** What should get the keyboard once it is on the page: a box on the canvas, or its words in the list. */
export const wanted = signal<{ id: string; part: "box" | "words" } | null>(null);

/** Applies an edit; edits of one `part` (a drag, a text being typed) are undone together. */
export function edit(change: Edit, part: string | null = null): void {
  history.value = commit(history.value, applyEdit(doc.value, change), part);
  if (selectedId.value !== null && selected.value === null) selectedId.value = null;
}

export function endEdit(): void {
  history.value = endPart(history.value);
}

export function undoEdit(): void {
  history.value = undo(history.value);
  announcement.value = "Undone";
}

export function redoEdit(): void {
  history.value = redo(history.value);
  announcement.value = "Done again";
}

export function putJob(job: Job): void {
  jobs.value = new Map(jobs.value).set(job.id, job);
}

export function dropJob(id: string): void {
  const rest = new Map(jobs.value);
  rest.delete(id);
  jobs.value = rest;
  strip.value = strip.value.filter((other) => other !== id);
  if (shownId.value === id) shownId.value = null;
  compared.value = [compared.value[0] === id ? null : compared.value[0], compared.value[1] === id ? null : compared.value[1]];
}

export function putPreview(id: string, image: string | null): void {
  const next = new Map(previews.value);
  if (image === null) next.delete(id);
  else next.set(id, image);
  previews.value = next;
}

let nextNotice = 0;
export function notify(tone: Notice["tone"], message: string, hint: string | null = null, action: Notice["action"] = null): void {
  // The same words twice are one notice: a button pressed again should not pile them up.
  const others = notices.value.filter((notice) => notice.message !== message);
  notices.value = [...others, { id: ++nextNotice, tone, message, hint, action }].slice(-3);
}

/** What failed before is no news once it is tried again. */
export function dismissErrors(): void {
  notices.value = notices.value.filter((notice) => notice.tone !== "error");
}

export function dismiss(id: number): void {
  notices.value = notices.value.filter((notice) => notice.id !== id);
}
