// How far a job is, how long it still takes, and a way out.
import type { Job } from "../api";
import { isLive } from "../commands/gallery";
import { cancel, paint } from "../commands/paint";
import { Icon } from "./icons";

export function JobProgress({ job }: { job: Job }) {
  if (job.state === "failed") {
    return (
      <div class="job-state failed" role="alert">
        <p><Icon name="warn" /> {job.error?.message ?? "The painting failed."}{job.error?.hint && <small>{job.error.hint}</small>}</p>
        <button type="button" class="second small" onClick={() => void paint()}>Paint again</button>
      </div>
    );
  }
  if (job.state === "cancelled") return <div class="job-state"><p>Cancelled.</p></div>;
  if (!isLive(job)) return null;
  const { progress } = job;
  const share = progress && progress.steps > 0 ? progress.step / progress.steps : null;
  return (
    <div class="job-state">
      <div class="progress-words">
        <span>{stateWords(job)}</span>
        {progress?.seconds_left != null && <span>{timeLeft(progress.seconds_left)}</span>}
      </div>
      {/* No value: the bar moves to and fro. */}
      <progress aria-label="Painting" max={1} {...(share === null ? {} : { value: share })} />
      <button type="button" class="second small" onClick={() => void cancel(job.id)}>Cancel</button>
    </div>
  );
}

export function stateWords(job: Job): string {
  if (job.state === "queued") return job.position ? `Number ${job.position} in the queue` : "In the queue";
  if (!job.progress) return "Getting ready";
  const { stage, step, steps } = job.progress;
  return steps > 0 ? `${capital(stage)}, step ${step} of ${steps}` : capital(stage);
}

const capital = (text: string): string => text.charAt(0).toUpperCase() + text.slice(1);

export function timeLeft(seconds: number): string {
  if (seconds < 1.5) return "a second left";
  if (seconds < 90) return `${Math.round(seconds)} s left`;
  return `${Math.round(seconds / 60)} min left`;
}
