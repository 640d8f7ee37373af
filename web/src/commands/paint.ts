// Painting: a job is sent, shown, cancelled, judged; its picture is changed.
import { type Job, type Operation, api } from "../api";
import { layoutFromDoc } from "../model/document";
import { isFromFile, isLive } from "../model/job";
import { newSeed } from "../model/seed";
import { isChecked, requestFromSettings } from "../model/settings";
import { type Badge, badgesOf, verdictInWords } from "../model/verdict";
import { announcement, dismissErrors, doc, jobs, method, notify, options, putJob, settings, shownAttempt, shownId, strip, view } from "../store";
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
  const canCheck = options.value !== null && isChecked(how.model, options.value);
  try {
    const job = await api.paint({ caption: now.caption.trim(), ...requestFromSettings(how, canCheck), ...(withLayout && { layout: layoutFromDoc(now) }) });
    if (!withLayout && method.value?.needs_layout) takeLayoutOf(job.id);
    begin(job);
    announcement.value = "Painting was queued";
  } catch (error) {
    report(error, "Not painted", { label: "Paint again", run: () => void paint() });
  }
}

/** Shows a job that was queued just now, and follows it. */
function begin(job: Job): void {
  putJob(job);
  strip.value = [job.id, ...strip.value.filter((id) => id !== job.id)];
  show(job.id);
  void follow(job.id);
}

/** Has one thing of a picture painted anew or taken out; all else of it stays, and so does the picture before. */
export async function change(job: Job, operation: Operation): Promise<void> {
  dismissErrors();
  try {
    begin(await api.change({ edit: { job: job.id, operations: [operation] }, seed: newSeed(), judge: true }));
    announcement.value = "The change was queued. The rest of the picture stays as it is.";
  } catch (error) {
    report(error, "Not changed");
  }
}

/** Says of something that the detector finds wrong that it is fine, or takes that back. */
export async function decide(job: Job, { about, index, phrase, isFine }: Badge): Promise<void> {
  try {
    putJob(await api.decide(job.id, { about, index, fine: !isFine }));
    announcement.value = isFine ? `${phrase} is as the detector sees it` : `${phrase} is fine`;
  } catch (error) {
    report(error, "Not kept");
  }
}

/** Shows a job's picture; on a phone the canvas may be far above what was pressed. */
export function show(id: string): void {
  shownId.value = id;
  shownAttempt.value = null;
  view.value = "picture";
  const job = jobs.value.get(id);
  // Lists leave out what was tried; of a job that is followed it comes by itself.
  if (job && !isLive(job) && !isFromFile(job)) void api.job(id).then(putJob).catch(report);
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
    if (job) announcement.value = verdictInWords(badgesOf({ ...job, verdict }));
  } catch (error) {
    report(error, "Cannot look for the objects");
  }
}
