// A job followed to its end: its events read, across restarts of the server.
import { ApiError, type Job, type Progress, api } from "../api";
import { readEvents } from "../events";
import { isLive } from "../model/job";
import { badgesOf, countInWords, verdictInWords } from "../model/verdict";
import { announcement, doc, dropJob, edit, jobs, putJob, putPreview } from "../store";
import { isAway, report, serverIsBack } from "./connection";

/** A stream that ends early is opened again after this, in milliseconds. */
const PAUSE_MS = 500;

/** How often a screen reader hears how far a painting is: at each of so many parts. */
const TOLD_PARTS = 4;

const followed = new Map<string, AbortController>();
/** Jobs whose layout the server was to plan: it becomes the editor's, if nothing was drawn meanwhile. */
const planned = new Set<string>();

export const takeLayoutOf = (id: string): void => { planned.add(id); };
export const stopFollowing = (id: string): void => followed.get(id)?.abort();

export async function follow(id: string): Promise<void> {
  if (followed.has(id)) return;
  const stop = new AbortController();
  followed.set(id, stop);
  try {
    while (!(await followOnce(id, stop.signal))) await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
  } catch (error) {
    if (error instanceof ApiError && error.status === 404) dropJob(id);
    else report(error);
  } finally {
    followed.delete(id);
    // What was seen of a picture that was given up stays.
    if (jobs.value.get(id)?.state === "done") putPreview(id, null);
  }
}

/** Reads one stream of events; whether there is no more to follow. */
async function followOnce(id: string, signal: AbortSignal): Promise<boolean> {
  try {
    for await (const { event, data } of readEvents(await api.events(id, signal))) {
      if (event === "job") takeJob(JSON.parse(data) as Job);
      if (event === "progress") takeProgress(id, JSON.parse(data) as Progress);
      if (event === "preview") putPreview(id, (JSON.parse(data) as { image: string }).image);
    }
  } catch (error) {
    if (signal.aborted) return true;
    // A stream that breaks off is a TypeError of the browser's; whether the server is gone, its health tells.
    if (isAway(error) || error instanceof TypeError) await api.health().catch(serverIsBack);
    else throw error;
  }
  // A line that was cut may have swallowed the end.
  const job = await api.job(id).catch(async (error: unknown) => {
    if (!isAway(error)) throw error;
    await serverIsBack();
    return api.job(id);
  });
  takeJob(job);
  if (isLive(job)) return false;
  tellEnd(job);
  return true;
}

function takeJob(job: Job): void {
  tellAttempt(job);
  putJob(job);
  if (job.layout && planned.delete(job.id) && doc.value.boxes.length === 0) edit({ kind: "plan", layout: job.layout });
}

function takeProgress(id: string, progress: Progress): void {
  const job = jobs.value.get(id);
  if (!job) return;
  putJob({ ...job, state: "running", progress });
  const part = (at: Progress | null): number => (at && at.steps > 0 ? Math.floor((TOLD_PARTS * at.step) / at.steps) : 0);
  if (part(progress) > part(job.progress)) announcement.value = `Painting, ${Math.round((100 * part(progress)) / TOLD_PARTS)} percent`;
}

/** Says of an attempt that came just now what was seen of it. */
function tellAttempt({ id, attempts = [] }: Job): void {
  const last = attempts.at(-1);
  if (last && attempts.length > (jobs.value.get(id)?.attempts?.length ?? 0)) announcement.value = `Try ${attempts.length}: ${countInWords(last.verdict)}`;
}

function tellEnd(job: Job): void {
  if (job.state === "done") announcement.value = `The picture is finished. ${verdictInWords(badgesOf(job))}`.trim();
  if (job.state === "cancelled") announcement.value = "The painting was cancelled.";
  if (job.state === "failed") announcement.value = `The painting failed: ${job.error?.message ?? "no reason was given"}`;
}
