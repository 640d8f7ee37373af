// Planning: a layout from a caption, changed in words, checked and mended.
import { type Layout, type Plan, api } from "../api";
import { layoutFromDoc } from "../model/document";
import { announcement, candidateCount, candidates, chosenCandidate, dismissErrors, doc, edit, findings, notify, planning, selectedId, view, wanted } from "../store";
import { isAway, report } from "./connection";

export async function plan(): Promise<void> {
  const { caption, canvas } = doc.value;
  if (!caption.trim()) return notify("info", "Write a caption first: what should the picture show?");
  await ask("Planning the layout", "Not planned", plan, (signal) => api.plan({ caption: caption.trim(), canvas, candidates: candidateCount.value }, signal));
}

/** Asks the planner to change the layout in words; whether it did. */
export async function askForChange(instruction: string): Promise<boolean> {
  if (namelessBox()) return false;
  const { caption } = doc.value;
  const body = { layout: layoutFromDoc(doc.value), instruction, ...(caption.trim() && { caption: caption.trim() }) };
  return ask("Changing the layout", "Not changed", () => askForChange(instruction), (signal) => api.edit(body, signal));
}

async function ask(doing: string, failed: string, again: () => unknown, call: (signal: AbortSignal) => Promise<Plan>): Promise<boolean> {
  planning.value?.abort.abort();
  dismissErrors();
  const mine = { doing, abort: new AbortController() };
  planning.value = mine;
  announcement.value = doing;
  try {
    const answer = await call(mine.abort.signal);
    if (planning.value !== mine) return false;
    takePlan(answer);
    return true;
  } catch (error) {
    if (planning.value === mine) report(error, failed, { label: "Try again", run: () => void again() });
    return false;
  } finally {
    if (planning.value === mine) planning.value = null;
  }
}

function takePlan(answer: Plan): void {
  candidates.value = answer.candidates.length > 1 ? answer.candidates : [];
  chosenCandidate.value = 0;
  edit({ kind: "plan", layout: answer.layout });
  selectedId.value = null;
  findings.value = answer.findings;
  view.value = "layout";
  const count = answer.layout.objects.length;
  announcement.value = `The layout has ${count} ${count === 1 ? "box" : "boxes"}: ${answer.layout.objects.map((object) => object.phrase).join(", ")}`;
}

export function chooseCandidate(index: number): void {
  const candidate = candidates.value[index];
  if (!candidate) return;
  chosenCandidate.value = index;
  edit({ kind: "plan", layout: candidate.layout }, "candidate");
  findings.value = candidate.findings;
}

/** Whether a box has no words yet, which no method can paint; the user is told and brought there. */
export function namelessBox(): boolean {
  const box = doc.value.boxes.find((other) => !other.phrase.trim());
  if (!box) return false;
  notify("info", "A box has no words yet.", "Say what it should show, or delete it.");
  selectedId.value = box.id;
  wanted.value = { id: box.id, part: "words" };
  view.value = "layout";
  return true;
}

let checkTimer = 0;
let checkNumber = 0;
/** Checks the layout once editing rests. */
export function checkSoon(): void {
  clearTimeout(checkTimer);
  checkTimer = window.setTimeout(() => void check(), 400);
}

async function check(): Promise<void> {
  const mine = ++checkNumber;
  const { caption, boxes } = doc.value;
  if (boxes.length === 0 || boxes.some((box) => !box.phrase.trim())) {
    findings.value = [];
    return;
  }
  try {
    const answer = await api.check({ layout: layoutFromDoc(doc.value), ...(caption.trim() && { caption: caption.trim() }) });
    if (mine === checkNumber) findings.value = answer.findings;
  } catch (error) {
    // Nobody asked for the check: only a lost server is worth a word.
    if (isAway(error)) report(error);
  }
}

/** Mends the layout by rules, without a model. */
export async function mend(): Promise<void> {
  if (namelessBox()) return;
  const { caption } = doc.value;
  const layout: Layout = layoutFromDoc(doc.value);
  try {
    const answer = await api.repair({ layout, ...(caption.trim() && { caption: caption.trim() }) });
    edit({ kind: "plan", layout: answer.layout });
    findings.value = answer.findings;
    if (answer.mended.length) notify("info", `Mended: ${answer.mended.join("; ")}`);
    else notify("info", "The rules found nothing that they can mend.", "Move the boxes, or ask for a change in words.");
  } catch (error) {
    report(error, "Not mended");
  }
}
