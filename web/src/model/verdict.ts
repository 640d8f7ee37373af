// What a detector says of a picture, as badges: each is about one thing, and knows what can be done about it.
import type { Attempt, BBox, Canvas, Decision, Job, ObjectVerdict, Operation, Verdict } from "../api";
import { seedOf } from "./seed";

/** In short, as a badge says it. */
export type BadgeState = "right" | "unsure" | "missing" | "wrong colour" | "misplaced" | "extra" | "excluded";

export interface Badge {
  about: Decision["about"];
  /** Which of the verdict's things of that kind. */
  index: number;
  phrase: string;
  state: BadgeState;
  /** In a sentence's part. */
  words: string;
  /** Where on the canvas it is to be; of what is too much, where it is. */
  bbox: BBox;
  /** Where on the canvas an object was seen, if it was. */
  seen: BBox | null;
  /** Somebody said that it is fine as it is. */
  isFine: boolean;
  /** What paints it as it is wanted, and what that is called; nothing for what is not wanted. */
  repaint: { label: string; operation: Operation } | null;
  /** What takes it out; nothing where there is nothing. */
  remove: Operation | null;
}

export const isRight = ({ state, isFine }: Badge): boolean => state === "right" || isFine;

/** What of a job badges are made of; servers of before there were decisions send none. */
type Judged = Pick<Job, "verdict" | "layout"> & { decisions?: Job["decisions"] | undefined };

/** What a verdict says, thing by thing: objects in their order, then what is too much. */
export function badgesOf({ verdict, layout, decisions }: Judged): readonly Badge[] {
  if (!verdict || !layout) return [];
  const isFine = (about: Decision["about"], index: number): boolean =>
    (decisions ?? []).some((decision) => decision.about === about && decision.index === index && decision.fine);
  const objects = verdict.objects.map((object, index) => ({ ...ofObject(object, layout.canvas), index, isFine: isFine("object", index) }));
  const seen = (about: "extra" | "excluded", words: string): Badge[] =>
    (verdict[about] ?? []).map(({ phrase, box, score }, index) => ({
      about, index, phrase, state: about, words: `${words}, ${percent(score)} sure`, bbox: box, seen: null, isFine: isFine(about, index),
      repaint: null, remove: { op: "remove", phrase, bbox: shares(box, layout.canvas) },
    }));
  return [...objects, ...seen("extra", "one too many"), ...seen("excluded", "must not be there")];
}

function ofObject(object: ObjectVerdict, canvas: Canvas): Omit<Badge, "index" | "isFine"> {
  const { phrase, box, detected_box: seen } = object;
  const state = stateOf(object);
  const wanted = shares(box, canvas);
  // What is changed in its place is all of the thing, wherever its box and what was seen of it end.
  const found = state === "misplaced" || !seen ? shares(seen ?? box, canvas) : around(wanted, shares(seen, canvas));
  const remove: Operation | null = state === "missing" ? null : { op: "remove", phrase, bbox: found };
  return { about: "object", phrase, state, words: objectWords(object), bbox: box, seen, repaint: repaintOf(state, phrase, wanted, found), remove };
}

function repaintOf(state: BadgeState, phrase: string, wanted: BBox, found: BBox): Badge["repaint"] {
  switch (state) {
    case "missing": return { label: "Paint this", operation: { op: "add", phrase, bbox: wanted } };
    case "misplaced": return { label: "Move into its box", operation: { op: "move", phrase, from: found, to: wanted } };
    case "wrong colour": return { label: "Repaint this", operation: { op: "recolour", phrase, bbox: found } };
    default: return { label: "Repaint this", operation: { op: "replace", phrase, bbox: found } };
  }
}

const STATES: Record<string, BadgeState> = { right: "right", unsure: "unsure", missing: "missing", wrong_attribute: "wrong colour", misplaced: "misplaced" };

/** Verdicts of before there were states know found and not found. */
function stateOf({ state, found, detected_box: seen }: ObjectVerdict): BadgeState {
  return STATES[state ?? ""] ?? (found ? "right" : seen ? "misplaced" : "missing");
}

const percent = (score: number): string => `${Math.round(100 * score)} %`;

/** What the detector says of one object. */
export function objectWords(object: ObjectVerdict): string {
  const sure = `${percent(object.score)} sure`;
  switch (stateOf(object)) {
    case "right": return `right, ${sure}`;
    case "unsure": return `perhaps there, ${sure}`;
    case "wrong colour": return object.seen_as ? `looks like ${object.seen_as}` : "another colour";
    case "misplaced": return `seen elsewhere, ${sure}`;
    default: return "not seen";
  }
}

/** The whole verdict in a sentence or two. */
export function verdictInWords(badges: readonly Badge[]): string {
  const objects = badges.filter(({ about }) => about === "object");
  const surplus = badges.filter((badge) => badge.about !== "object" && !badge.isFine);
  const more = surplus.length === 0 ? "" : surplus.length === 1 ? " One thing is too many." : ` ${surplus.length} things are too many.`;
  if (objects.length === 0) return more.trim();
  const right = objects.filter(isRight).length;
  if (objects.length === 1) return (right ? "The object is where it was meant to be." : "The object is not as it was meant to be.") + more;
  return `${right} of ${objects.length} objects are where they were meant to be.${more}`;
}

/** Where things stand to each other otherwise than the caption says, a sentence each. */
export function relationsInWords({ objects, relations }: Verdict): readonly string[] {
  const name = (index: number): string => objects[index]?.phrase ?? "something";
  const failed = (relations ?? []).filter(({ state }) => state === "fail");
  return failed.map(({ subject, relation, object }) => `${name(subject)} is not ${relation.replaceAll("_", " ")} ${name(object)}`);
}

/** How many things of a verdict are as they were meant to be, and of how many: `3 of 4`. */
export function countInWords(verdict: Verdict | null): string {
  if (!verdict) return "not looked at";
  const right = verdict.objects.filter((object) => stateOf(object) === "right").length;
  const surplus = (verdict.extra?.length ?? 0) + (verdict.excluded?.length ?? 0);
  return `${right} of ${verdict.objects.length} right${surplus > 0 ? `, ${surplus} extra` : ""}`;
}

const DONE: Record<string, string> = { add: "added", remove: "removed", move: "moved", recolour: "recoloured", replace: "repainted" };

/** What a try was, in short. */
export function attemptWords({ operations, ...attempt }: Attempt): string {
  const [first, ...others] = operations;
  if (!first) return `seed ${seedOf(attempt)}`;
  const more = others.length > 0 ? ` and ${others.length} more` : "";
  return `${DONE[first.op] ?? first.op} ${first.phrase}${more}`;
}

/** The box around two. */
const around = ([a0, b0, a1, b1]: BBox, [c0, d0, c1, d1]: BBox): BBox => [Math.min(a0, c0), Math.min(b0, d0), Math.max(a1, c1), Math.max(b1, d1)];

/** A box of the canvas as left, top, right, bottom in shares of it. What reaches over an edge ends there. */
export function shares([x, y, width, height]: BBox, canvas: Canvas): BBox {
  const within = (value: number, of: number): number => Math.min(1, Math.max(0, value / of));
  return [within(x, canvas.width), within(y, canvas.height), within(x + width, canvas.width), within(y + height, canvas.height)];
}
