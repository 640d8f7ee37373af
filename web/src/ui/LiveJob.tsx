// The job that is being painted, in every view: it can be watched and cancelled from anywhere.
import type { Job } from "../api";
import { show } from "../commands/paint";
import { isLive } from "../model/job";
import { jobs, shown, view } from "../store";
import { JobProgress } from "./JobProgress";

export function LiveJob() {
  const live = [...jobs.value.values()].filter(isLive);
  const job = live.find((other) => other.state === "running") ?? first(live);
  // The picture's own view tells it already.
  if (!job || (view.value === "picture" && shown.value?.id === job.id)) return null;
  const others = live.length - 1;
  return (
    <div class="live-job">
      <JobProgress job={job} />
      <p class="live-words">
        <button type="button" class="link" onClick={() => show(job.id)}>{job.caption || "a picture"}</button>
        {others > 0 && <small> and {others} more</small>}
      </p>
    </div>
  );
}

/** The one that was queued first. */
const first = (live: readonly Job[]): Job | undefined => [...live].sort((a, b) => (a.position ?? 0) - (b.position ?? 0))[0];
