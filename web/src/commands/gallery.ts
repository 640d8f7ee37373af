// The strip of jobs: loaded, searched, thinned out.
import { type Job, api } from "../api";
import { isFromFile, isLive } from "../model/job";
import { announcement, dropJob, jobs, search, strip, stripNext } from "../store";
import { report } from "./connection";
import { follow, stopFollowing } from "./follow";
import { show } from "./paint";

/** Jobs asked for at once. */
const PAGE = 24;
/** How long typing rests before the search, in milliseconds. */
const REST_MS = 250;

/** Loads the newest jobs that the search finds. */
export async function refreshStrip(): Promise<void> {
  const wanted = search.value;
  const page = await api.jobs(wanted.trim(), PAGE, null);
  if (wanted !== search.value) return; // typed on meanwhile
  take(page.jobs);
  const files = [...jobs.value.values()].filter((job) => isFromFile(job) && job.caption.toLowerCase().includes(wanted.trim().toLowerCase()));
  strip.value = [...files.map((job) => job.id).reverse(), ...page.jobs.map((job) => job.id)];
  stripNext.value = page.next;
}

export async function loadMore(): Promise<void> {
  try {
    const page = await api.jobs(search.value.trim(), PAGE, stripNext.value);
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

let timer = 0;
export function searchFor(text: string): void {
  search.value = text;
  clearTimeout(timer);
  timer = window.setTimeout(() => { refreshStrip().catch((error: unknown) => report(error, "Cannot search")); }, REST_MS);
}

export async function removeJob(job: Job): Promise<void> {
  try {
    stopFollowing(job.id);
    if (isFromFile(job)) URL.revokeObjectURL(job.image ?? "");
    else await api.remove(job.id);
    const index = strip.value.indexOf(job.id);
    dropJob(job.id);
    // The keyboard goes on at the neighbour.
    const next = strip.value[index] ?? strip.value[index - 1];
    if (next) {
      show(next);
      requestAnimationFrame(() => document.querySelector<HTMLElement>(".card[aria-pressed=true]")?.focus());
    }
    announcement.value = "Picture deleted";
  } catch (error) {
    report(error, "Cannot delete the picture");
  }
}
