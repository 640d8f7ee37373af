// Painting: a job is sent, shown, cancelled, judged.
import { type Job, type Verdict, api } from "../api";
import { layoutFromDoc } from "../model/document";
import { MAX_SEED, requestFromSettings } from "../model/settings";
import { announcement, doc, edit, jobs, method, notify, putJob, settings, shownId, strip, view } from "../store";
import { report } from "./connection";
import { follow } from "./gallery";
import { namelessBox } from "./plan";

/** Jobs whose layout the server was to plan: it becomes the editor's, if nothing was drawn meanwhile. */
const planned = new Set<string>();

export async function paint(): Promise<void> {
  const now = doc.value;
  const how = settings.value;
  if (!how) return;
  if (!now.caption.trim() && now.boxes.length === 0) return notify("info", "Write a caption first, or draw a box.");
  if (namelessBox()) return;
  const withLayout = now.boxes.length > 0 || now.background !== "";
  try {
    const job = await api.paint({ caption: now.caption.trim(), ...requestFromSettings(how), ...(withLayout && { layout: layoutFromDoc(now) }) });
    if (!withLayout && method.value?.needs_layout) planned.add(job.id);
    putJob(job);
    strip.value = [job.id, ...strip.value.filter((id) => id !== job.id)];
    show(job.id);
    announcement.value = "Painting was queued";
    void follow(job.id);
  } catch (error) {
    report(error, "Not painted", { label: "Paint again", run: () => void paint() });
  }
}

export function show(id: string): void {
  shownId.value = id;
  view.value = "picture";
}

export function jobEnded(job: Job): void {
  if (planned.delete(job.id) && job.layout && doc.value.boxes.length === 0) edit({ kind: "plan", layout: job.layout });
  if (job.state === "done") announcement.value = ["The picture is finished.", verdictInWords(verdictsOf(job))].filter(Boolean).join(" ");
  if (job.state === "cancelled") announcement.value = "The painting was cancelled.";
  if (job.state === "failed") announcement.value = `The painting failed: ${job.error?.message ?? "no reason was given"}`;
}

export async function cancel(id: string): Promise<void> {
  try {
    putJob(await api.cancel(id));
  } catch (error) {
    report(error, "Cannot cancel");
  }
}

export async function judge(id: string): Promise<void> {
  try {
    const verdict = await api.evaluate(id);
    const job = jobs.value.get(id);
    if (job) putJob({ ...job, verdict });
    announcement.value = verdictInWords(verdict.objects);
  } catch (error) {
    report(error, "Cannot look for the objects");
  }
}

export function verdictsOf(job: Job): readonly Verdict[] {
  return Array.isArray(job.verdict) ? job.verdict : (job.verdict?.objects ?? []);
}

export function verdictInWords(verdicts: readonly Verdict[]): string {
  if (verdicts.length === 0) return "";
  return `${verdicts.filter((verdict) => verdict.found).length} of ${verdicts.length} objects are where they were meant to be.`;
}

export const newSeed = (): number => Math.floor(Math.random() * MAX_SEED);
