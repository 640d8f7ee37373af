// The strip of jobs: loaded, searched, followed while they are painted.
import { ApiError, type Job, api } from "../api";
import { readEvents } from "../events";
import type { Progress } from "../api";
import { announcement, dropJob, jobs, previews, putJob, putPreview, search, strip, stripNext } from "../store";
import { isAway, report, serverIsBack } from "./connection";
import { jobEnded } from "./paint";

const PAGE = 24;
const followed = new Map<string, AbortController>();

export const isLive = (job: Job): boolean => job.state === "queued" || job.state === "running";

/** Loads the newest jobs that the search finds. */
export async function refreshStrip(): Promise<void> {
  const wanted = search.value;
  const page = await api.jobs(wanted, PAGE, null);
  if (wanted !== search.value) return; // typed on meanwhile
  take(page.jobs);
  const files = [...jobs.value.keys()].filter((id) => id.startsWith("file:") && !wanted).reverse();
  strip.value = [...files, ...page.jobs.map((job) => job.id)];
  stripNext.value = page.next;
}

export async function loadMore(): Promise<void> {
  try {
    const page = await api.jobs(search.value, PAGE, stripNext.value);
    take(page.jobs);
    strip.value = [...new Set([...strip.value, ...page.jobs.map((job) => job.id)])];
    stripNext.value = page.next;
  } catch (error) {
    report(error, "Cannot load more pictures");
  }
}

function take(some: readonly Job[]): void {
  const all = new Map(jobs.value);
  for (const job of some) all.set(job.id, job);
  jobs.value = all;
  for (const job of some) if (isLive(job)) void follow(job.id);
}

let searchTimer = 0;
export function searchFor(text: string): void {
  search.value = text;
  clearTimeout(searchTimer);
  searchTimer = window.setTimeout(() => { refreshStrip().catch(report); }, 250);
}

/** Follows a job's events to its end, across restarts of the server. */
export async function follow(id: string): Promise<void> {
  if (followed.has(id)) return;
  const stop = new AbortController();
  followed.set(id, stop);
  try {
    while (!stop.signal.aborted && !(await followOnce(id, stop.signal)));
  } catch (error) {
    if (error instanceof ApiError && error.status === 404) dropJob(id);
    else report(error);
  } finally {
    followed.delete(id);
    putPreview(id, null);
  }
}

/** Reads one stream of events; whether the job has ended. */
async function followOnce(id: string, signal: AbortSignal): Promise<boolean> {
  try {
    for await (const { event, data } of readEvents(await api.events(id, signal))) {
      if (event === "job") putJob(JSON.parse(data) as Job);
      if (event === "progress") putProgress(id, JSON.parse(data) as Progress);
      if (event === "preview") putPreview(id, (JSON.parse(data) as { image: string }).image);
    }
  } catch (error) {
    if (signal.aborted) return true;
    // A stream that breaks off is a TypeError of its own; the health of the server tells why.
    if (isAway(error) || error instanceof TypeError) await api.health().catch(serverIsBack);
    else throw error;
  }
  // A line that was cut may have swallowed the end.
  const job = await api.job(id).catch(async (error: unknown) => {
    if (!isAway(error)) throw error;
    await serverIsBack();
    return api.job(id);
  });
  putJob(job);
  if (isLive(job)) {
    await new Promise((resolve) => setTimeout(resolve, 500));
    return false;
  }
  jobEnded(job);
  return true;
}

function putProgress(id: string, progress: Progress): void {
  const job = jobs.value.get(id);
  if (job) putJob({ ...job, state: "running", progress });
}

export async function removeJob(job: Job): Promise<void> {
  try {
    followed.get(job.id)?.abort();
    if (job.id.startsWith("file:")) URL.revokeObjectURL(job.image ?? "");
    else await api.remove(job.id);
    dropJob(job.id);
    announcement.value = "Picture deleted";
  } catch (error) {
    report(error, "Cannot delete the picture");
  }
}

/** Where a job's picture is, its preview while there is none. */
export function pictureOf(job: Job): string | null {
  if (job.id.startsWith("file:")) return job.image;
  if (job.state === "done" && job.image !== null) return api.imagePath(job.id);
  return previews.value.get(job.id) ?? null;
}
