// A job's picture with its boxes over it: while it is painted, and when it is there.
import { useState } from "preact/hooks";
import { type Job, api } from "../api";
import { report } from "../commands/connection";
import { download, restore } from "../commands/files";
import { removeJob } from "../commands/gallery";
import { judge } from "../commands/paint";
import { tagsOfLayout } from "../model/document";
import { rectFromBBox } from "../model/geometry";
import { beforeOf, isFromFile, isLive, madeWith, pictureOf, sizeOf } from "../model/job";
import { type Badge, badgesOf } from "../model/verdict";
import { boxesOverPicture, compared, doc, jobs, previews, shown, shownAttempt, strip, view } from "../store";
import { Attempts } from "./Attempts";
import { BadgeList, BadgeOnPicture } from "./Badges";
import { Check, IconButton } from "./controls";
import { Icon } from "./icons";
import { Image } from "./Image";
import { Paper, placed } from "./Paper";
import { JobProgress } from "./JobProgress";

export function Picture() {
  const job = shown.value;
  const [isBefore, setBefore] = useState<string | null>(null);
  if (!job) return <NoPicture />;
  const attempt = shownAttempt.value === null ? null : (job.attempts?.[shownAttempt.value] ?? null);
  const before = isBefore === job.id ? beforeOf(job) : null;
  const picture = before ?? (attempt ? api.attemptPath(job.id, shownAttempt.value ?? 0) : pictureOf(job, previews.value));
  // Of a try its own verdict is told; it cannot be changed, the picture can.
  const badges = badgesOf(attempt ? { ...job, verdict: attempt.verdict, decisions: [] } : job);
  const seen: Job = attempt ? { ...job, state: "running", verdict: attempt.verdict } : job;
  return (
    <>
      <Paper canvas={sizeOf(job)} label="Picture" class={job.state === "done" ? "picture" : "picture unfinished"}>
        {picture ? <Image address={picture} alt={altOf(job, before !== null)} missing={<p class="canvas-note high">The picture is not in the server's folder any more. Paint it again from its settings.</p>} /> : <p class="canvas-note high">{waitingWords(job)}</p>}
        {boxesOverPicture.value && !before && <BoxesOver job={seen} badges={badges} />}
      </Paper>
      <JobProgress job={job} />
      <BadgeList job={seen} badges={badges} />
      <Attempts job={job} />
      {job.warnings?.length > 0 && <ul class="warnings">{job.warnings.map((warning) => <li key={warning}>{warning}</li>)}</ul>}
      <Actions job={job} isBefore={before !== null} onBefore={(on) => setBefore(on ? job.id : null)} />
      <Made job={job} />
    </>
  );
}

function altOf(job: Job, isBefore: boolean): string {
  if (isBefore) return "The picture before the change";
  return job.state === "done" ? job.caption : "The picture so far";
}

function NoPicture() {
  return (
    <div class="no-picture">
      <p><strong>Paint</strong> makes a picture of the layout, and shows here how it comes to be.</p>
      <p>A picture that was made before, dropped anywhere on this page, brings its caption, layout and settings back.</p>
    </div>
  );
}

function waitingWords(job: Job): string {
  if (job.state === "queued") return "Waiting for its turn";
  if (job.state === "running") return "Getting ready";
  return job.state === "cancelled" ? "Cancelled before there was a picture" : "There is no picture";
}

/** The boxes of the job's own layout, which may not be the editor's any more, each with what the detector says. */
function BoxesOver({ job, badges }: { job: Job; badges: readonly Badge[] }) {
  const { layout } = job;
  if (!layout) return null;
  const tags = tagsOfLayout(layout, doc.value.boxes);
  if (badges.length === 0) {
    return (
      <>
        {layout.objects.map((object, index) => (
          <div key={index} class={`box still tag-${tags[index]}`} style={placed(rectFromBBox(object.bbox), layout.canvas)}>
            <span class="box-words">{object.phrase}</span>
          </div>
        ))}
      </>
    );
  }
  return <>{badges.map((badge) => <BadgeOnPicture key={`${badge.about} ${badge.index}`} job={job} badge={badge} canvas={layout.canvas} tag={badge.about === "object" ? (tags[badge.index] ?? null) : null} />)}</>;
}

function Actions({ job, isBefore, onBefore }: { job: Job; isBefore: boolean; onBefore: (on: boolean) => void }) {
  const isDone = job.state === "done";
  return (
    <div class="actions" role="toolbar" aria-label="Picture">
      {job.layout && <Check label="Boxes" checked={boxesOverPicture.value} onChange={(on) => { boxesOverPicture.value = on; }} />}
      {isDone && job.edit && <button type="button" class="second" aria-pressed={isBefore} onClick={() => onBefore(!isBefore)}><Icon name="compare" /> Before</button>}
      {isDone && <button type="button" class="second" onClick={() => void download(job)}><Icon name="download" /> Download</button>}
      {isDone && <button type="button" class="quiet" onClick={() => compareWith(job)}><Icon name="compare" /> Compare</button>}
      {isDone && !isFromFile(job) && !job.verdict && job.layout && <button type="button" class="quiet" onClick={() => void judge(job.id)}><Icon name="eye" /> Look for the objects</button>}
      <button type="button" class="quiet" title="Caption, layout and settings as they were for this picture" onClick={() => editAgain(job)}><Icon name="restore" /> Edit this</button>
      {!isLive(job) && <IconButton icon="trash" label="Delete this picture" onClick={() => void removeJob(job)} />}
    </div>
  );
}

function editAgain(job: Job): void {
  try {
    restore(job);
    view.value = "layout";
  } catch (error) {
    report(error, "Cannot bring this picture's settings back");
  }
}

/** Beside what it was before it was changed, or else the newest finished picture that is another one. */
function compareWith(job: Job): void {
  const isThere = (id: string): boolean => jobs.value.get(id)?.state === "done";
  const before = job.edit && isThere(job.edit.job) ? job.edit.job : null;
  const other = before ?? strip.value.find((id) => id !== job.id && isThere(id)) ?? null;
  compared.value = [other, job.id];
  view.value = "compare";
}

function Made({ job }: { job: Job }) {
  return (
    <p class="made">
      <q>{job.caption}</q> <span>{madeWith(job).join(" · ")}{took(job)}</span>
    </p>
  );
}

function took(job: Job): string {
  if (!job.started || !job.finished || job.state !== "done") return "";
  return ` · ${((Date.parse(job.finished) - Date.parse(job.started)) / 1000).toFixed(1)} s`;
}
