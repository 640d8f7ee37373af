// How far a job is, how long it still takes, and a way out.
import type { Job } from "../api";
import { cancel, paint } from "../commands/paint";
import { isLive, stateInWords, timeLeft } from "../model/job";
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
        <span>{stateInWords(job)}</span>
        {progress?.seconds_left != null && <span>{timeLeft(progress.seconds_left)}</span>}
      </div>
      {/* No value: the bar moves to and fro. */}
      <progress aria-label="Painting" max={1} {...(share === null ? {} : { value: share })} />
      <button type="button" class="second small" onClick={() => void cancel(job.id)}>Cancel</button>
    </div>
  );
}
