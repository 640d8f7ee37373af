// What can be said of a job by looking at it.
import { type Canvas, type Job, api } from "../api";
import { seedOf } from "./seed";

export const isLive = (job: Job): boolean => job.state === "queued" || job.state === "running";

/** A picture that was dropped on the page: the server does not know it. */
export const isFromFile = (job: Job): boolean => job.id.startsWith("file:");
export const idOfFile = (file: File): string => `file:${file.name}:${file.lastModified}`;

/** Where a job's picture is, its preview while there is none. */
export function pictureOf(job: Job, previews: ReadonlyMap<string, string>): string | null {
  if (isFromFile(job)) return job.image;
  if (job.state === "done" && job.image !== null) return api.imagePath(job.id);
  // Until an edit shows something of itself, what it changes is seen.
  return previews.get(job.id) ?? beforeOf(job);
}

/** Where the picture is that an edit changes. */
export const beforeOf = ({ edit }: Job): string | null => (edit ? api.imagePath(edit.job) : null);

const SQUARE: Canvas = { width: 512, height: 512 };
/** The shape of a job's picture; its layout is stretched to it. */
export const sizeOf = ({ width, height, layout }: Job): Canvas => (width && height ? { width, height } : (layout?.canvas ?? SQUARE));

/** How a picture is painted, in short: what is as usual is left out. */
export function madeWith(job: Job): string[] {
  const parts = [job.method, job.model, `seed ${seedOf(job)}`, `${job.steps} steps`];
  if (job.scheduler !== null) parts.push(job.scheduler);
  if (job.guidance_scale !== null) parts.push(`guidance ${job.guidance_scale}`);
  const [from, to] = job.guidance_interval ?? [0, 1];
  if (from > 0 || to < 1) parts.push(`guided from ${from} to ${to}`);
  if ((job.deep_every ?? 1) > 1) parts.push(`deep layers every ${job.deep_every} steps`);
  if ((job.merge_tokens ?? 1) > 1) parts.push(`tokens merged by ${job.merge_tokens}`);
  if (job.text_encoder !== null) parts.push(job.text_encoder);
  return parts;
}

export function stateInWords(job: Job): string {
  if (job.state === "queued") return job.position ? `In the queue, ${job.position} before it` : "Next in the queue";
  if (job.state !== "running") return job.state;
  if (!job.progress) return "Getting ready";
  const { step, steps } = job.progress;
  const tried = job.attempts?.length ?? 0;
  const stage = tried > 0 ? `try ${tried + 1}: ${job.progress.stage}` : job.progress.stage;
  // Not in steps: methods that paint the objects first take more of them than were asked for.
  return steps > 0 ? `${capital(stage)}, ${Math.floor((100 * step) / steps)} %` : capital(stage);
}

const capital = (text: string): string => text.charAt(0).toUpperCase() + text.slice(1);

export function timeLeft(seconds: number): string {
  if (seconds < 1.5) return "a second left";
  if (seconds < 90) return `${Math.round(seconds)} s left`;
  return `${Math.round(seconds / 60)} min left`;
}
