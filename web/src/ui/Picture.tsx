// A job's picture with its boxes over it: while it is painted, and when it is there.
import type { Job, Verdict } from "../api";
import { report } from "../commands/connection";
import { download, restore } from "../commands/files";
import { removeJob } from "../commands/gallery";
import { judge } from "../commands/paint";
import { tagsOfLayout } from "../model/document";
import { rectFromBBox } from "../model/geometry";
import { isFromFile, isLive, madeWith, pictureOf, sizeOf, verdictInWords, verdictWords, verdictsOf } from "../model/job";
import { boxesOverPicture, compared, doc, jobs, previews, shown, strip, view } from "../store";
import { Check, IconButton } from "./controls";
import { Icon } from "./icons";
import { Image } from "./Image";
import { Paper, placed } from "./Paper";
import { JobProgress } from "./JobProgress";

export function Picture() {
  const job = shown.value;
  if (!job) return <NoPicture />;
  const picture = pictureOf(job, previews.value);
  return (
    <>
      <Paper canvas={sizeOf(job)} label="Picture" class={job.state === "done" ? "picture" : "picture unfinished"}>
        {picture ? <Image address={picture} alt={job.state === "done" ? job.caption : "The picture so far"} missing={<p class="canvas-note high">The picture is not in the server's folder any more. Paint it again from its settings.</p>} /> : <p class="canvas-note high">{waitingWords(job)}</p>}
        {boxesOverPicture.value && <BoxesOver job={job} />}
      </Paper>
      <JobProgress job={job} />
      <Verdicts job={job} />
      {job.warnings?.length > 0 && <ul class="warnings">{job.warnings.map((warning) => <li key={warning}>{warning}</li>)}</ul>}
      <Actions job={job} />
      <Made job={job} />
    </>
  );
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
function BoxesOver({ job }: { job: Job }) {
  const { layout } = job;
  if (!layout) return null;
  const verdicts = verdictsOf(job);
  const tags = tagsOfLayout(layout, doc.value.boxes);
  return (
    <>
      {layout.objects.map((object, index) => {
        const verdict = verdicts[index];
        return (
          <div key={index} class={`box still tag-${tags[index]}`} style={placed(rectFromBBox(object.bbox), layout.canvas)}>
            <span class="box-words">{verdict && <VerdictMark verdict={verdict} />}{object.phrase}</span>
          </div>
        );
      })}
      {verdicts.map((verdict, index) => verdict.detected_box && (
        <div key={index} class={`seen tag-${tags[index]}`} title={`${verdict.phrase} was seen here`} style={placed(rectFromBBox(verdict.detected_box), layout.canvas)} />
      ))}
    </>
  );
}

function VerdictMark({ verdict }: { verdict: Verdict }) {
  return <span class={verdict.found ? "mark found" : "mark missing"}><Icon name={verdict.found ? "check" : "close"} /></span>;
}

function Verdicts({ job }: { job: Job }) {
  const verdicts = verdictsOf(job);
  if (verdicts.length === 0) return null;
  return (
    <div class="verdicts">
      <p>{verdictInWords(verdicts)}{boxesOverPicture.value && verdicts.some((verdict) => verdict.detected_box) && <small> Dashed: where the detector saw them.</small>}</p>
      <ul>
        {verdicts.map((verdict, index) => (
          <li key={index}>
            <VerdictMark verdict={verdict} /> {verdict.phrase} <small>{verdictWords(verdict)}</small>
          </li>
        ))}
      </ul>
    </div>
  );
}

function Actions({ job }: { job: Job }) {
  const isDone = job.state === "done";
  return (
    <div class="actions" role="toolbar" aria-label="Picture">
      {job.layout && <Check label="Boxes" checked={boxesOverPicture.value} onChange={(on) => { boxesOverPicture.value = on; }} />}
      {isDone && <button type="button" class="second" onClick={() => void download(job)}><Icon name="download" /> Download</button>}
      {isDone && <button type="button" class="quiet" onClick={() => compareWith(job)}><Icon name="compare" /> Compare</button>}
      {isDone && !isFromFile(job) && verdictsOf(job).length === 0 && job.layout && <button type="button" class="quiet" onClick={() => void judge(job.id)}><Icon name="eye" /> Look for the objects</button>}
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

/** Beside the newest finished picture that is another one. */
function compareWith(job: Job): void {
  const other = strip.value.find((id) => id !== job.id && jobs.value.get(id)?.state === "done") ?? null;
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
