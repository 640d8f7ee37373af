// Layouts of one caption side by side, the best first.
import type { Candidate, Layout } from "../api";
import { chooseCandidate } from "../commands/plan";
import { tagsOfLayout } from "../model/document";
import { candidates, chosenCandidate, doc } from "../store";
import { IconButton } from "./controls";

export function Candidates() {
  if (candidates.value.length === 0) return null;
  return (
    <div class="candidates" role="group" aria-label="Layouts to choose from">
      {candidates.value.map((candidate, index) => (
        <button key={index} type="button" class="candidate" aria-pressed={index === chosenCandidate.value} aria-label={inWords(candidate, index)} onClick={() => chooseCandidate(index)}>
          <Miniature layout={candidate.layout} />
          <span class="candidate-note">{note(candidate)}</span>
        </button>
      ))}
      <IconButton icon="close" label="Put the other layouts away" onClick={() => { candidates.value = []; }} />
    </div>
  );
}

const faults = (candidate: Candidate): number => candidate.findings.filter((finding) => finding.severity === "fault").length;

/** What the checks found. That they found nothing is all that can be said for a layout: they do not understand every caption. */
function note(candidate: Candidate): string {
  const count = faults(candidate);
  if (count > 0) return `${count} ${count === 1 ? "fault" : "faults"}`;
  const remarks = candidate.findings.length;
  return remarks > 0 ? `${remarks} ${remarks === 1 ? "remark" : "remarks"}` : "no fault found";
}

function inWords(candidate: Candidate, index: number): string {
  return `Layout ${index + 1}: ${candidate.layout.objects.length} boxes, ${note(candidate)}`;
}

/** A layout as a small drawing. */
export function Miniature({ layout }: { layout: Layout }) {
  const { width, height } = layout.canvas;
  const tags = tagsOfLayout(layout, doc.value.boxes);
  return (
    <svg class="miniature" viewBox={`0 0 ${width} ${height}`} aria-hidden="true">
      {layout.objects.map(({ bbox: [x, y, w, h] }, index) => (
        <rect key={index} class={`tag-${tags[index]}`} x={x} y={y} width={w} height={h} rx={width / 60} vector-effect="non-scaling-stroke" />
      ))}
    </svg>
  );
}
