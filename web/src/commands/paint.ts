// Painting: a job is sent, shown, cancelled, judged.
import { api } from "../api";
import { layoutFromDoc } from "../model/document";
import { verdictInWords } from "../model/job";
import { requestFromSettings } from "../model/settings";
import { announcement, dismissErrors, doc, jobs, method, notify, putJob, settings, shownId, strip, view } from "../store";
import { report } from "./connection";
import { follow, takeLayoutOf } from "./follow";
import { namelessBox } from "./plan";

export async function paint(): Promise<void> {
  const now = doc.value;
  const how = settings.value;
  if (!how) return;
  if (!now.caption.trim() && now.boxes.length === 0) return notify("info", "Write a caption first, or draw a box.");
  if (namelessBox()) return;
  dismissErrors();
  const withLayout = now.boxes.length > 0 || now.background !== "";
  try {
    const job = await api.paint({ caption: now.caption.trim(), ...requestFromSettings(how), ...(withLayout && { layout: layoutFromDoc(now) }) });
    if (!withLayout && method.value?.needs_layout) takeLayoutOf(job.id);
    putJob(job);
    strip.value = [job.id, ...strip.value.filter((id) => id !== job.id)];
    show(job.id);
    announcement.value = "Painting was queued";
    void follow(job.id);
  } catch (error) {
    report(error, "Not painted", { label: "Paint again", run: () => void paint() });
  }
}

/** Shows a job's picture; on a phone the canvas may be far above what was pressed. */
export function show(id: string): void {
  shownId.value = id;
  view.value = "picture";
  // Once it is drawn: the stage changes its height with what it shows.
  requestAnimationFrame(() => document.getElementById("tab-picture")?.scrollIntoView({ block: "nearest" }));
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
