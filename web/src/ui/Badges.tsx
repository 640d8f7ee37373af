// What the detector says of each thing: on the picture where the thing is, and in a list below it. Each badge opens what can be done about it.
import type { Canvas, Job } from "../api";
import { change, decide } from "../commands/paint";
import type { Tag } from "../model/document";
import { type Rect, rectFromBBox } from "../model/geometry";
import { isFromFile } from "../model/job";
import { type Badge, isRight, relationsInWords, verdictInWords } from "../model/verdict";
import { boxesOverPicture } from "../store";
import { Icon, type IconName } from "./icons";
import { placed } from "./Paper";
import { useMenu } from "./useMenu";

/** Whether a job's picture can be changed: it is there, and the server's own. */
export const isChangeable = (job: Job): boolean => job.state === "done" && !isFromFile(job);

const ICONS: Record<Badge["state"], IconName> = { right: "check", unsure: "question", missing: "close", "wrong colour": "drop", misplaced: "arrows", extra: "plus", excluded: "close" };

/** A round sign: good, bad, or neither. */
export function Mark({ badge }: { badge: Badge }) {
  const tone = isRight(badge) ? "found" : badge.state === "unsure" ? "unsure" : "missing";
  return <span class={`mark ${tone}`}><Icon name={badge.isFine ? "check" : ICONS[badge.state]} /></span>;
}

/** A thing on the picture: its frame with its badge at the corner, and dashed where it was seen. */
export function BadgeOnPicture({ job, badge, canvas, tag }: { job: Job; badge: Badge; canvas: Canvas; tag: Tag | null }) {
  const rect = rectFromBBox(badge.bbox);
  return (
    <>
      {badge.seen && <div class={`seen tag-${tag ?? ""}`} title={`${badge.phrase} was seen here`} style={placed(rectFromBBox(badge.seen), canvas)} />}
      <div class={tag ? `box still tag-${tag}` : "box still surplus"} style={placed(rect, canvas)}>
        {isChangeable(job) ? <BadgeMenu job={job} badge={badge} opens={opensTo(rect, canvas)} /> : <span class="box-words"><Mark badge={badge} />{badge.phrase}</span>}
      </div>
    </>
  );
}

/** A menu opens to where the picture has more room. */
const opensTo = (rect: Rect, canvas: Canvas): "left" | "right" => (rect.x + rect.width / 2 > canvas.width / 2 ? "left" : "right");

const said = ({ state, isFine }: Badge): string => (isFine ? "fine" : state);

function BadgeMenu({ job, badge, opens }: { job: Job; badge: Badge; opens: "left" | "right" }) {
  const { isOpen, toggle, close, root, onKeyDown } = useMenu();
  return (
    <div class={`menu badge opens-${opens}${isOpen ? " open" : ""}`} ref={root} onKeyDown={onKeyDown}>
      <button type="button" class="box-words" aria-haspopup="menu" aria-expanded={isOpen} aria-label={`${badge.phrase}: ${said(badge)}`} title={badge.words} onClick={toggle}>
        <Mark badge={badge} />{badge.phrase}
      </button>
      {isOpen && <div class="menu-items" role="menu" aria-label={badge.phrase}><BadgeItems job={job} badge={badge} close={close} /></div>}
    </div>
  );
}

/** What can be done about a thing. */
function BadgeItems({ job, badge, close }: { job: Job; badge: Badge; close: () => void }) {
  const item = (icon: IconName, label: string, act: () => void) => (
    <button type="button" role="menuitem" onClick={() => { close(); act(); }}><Icon name={icon} /> {label}</button>
  );
  const { repaint, remove } = badge;
  return (
    <>
      {repaint && item("wand", repaint.label, () => void change(job, repaint.operation))}
      {remove && item("trash", "Remove this", () => void change(job, remove))}
      {badge.state !== "right" && item(badge.isFine ? "restore" : "check", badge.isFine ? "It is not fine" : "It is fine", () => void decide(job, badge))}
    </>
  );
}

/** All that the detector says, below the picture. */
export function BadgeList({ job, badges }: { job: Job; badges: readonly Badge[] }) {
  if (badges.length === 0) return null;
  const unknown = job.verdict?.unknown ?? [];
  const relations = job.verdict ? relationsInWords(job.verdict) : [];
  return (
    <div class="verdicts">
      <p>{verdictInWords(badges)}{boxesOverPicture.value && isChangeable(job) && <small> Press a name on the picture to change that thing alone.</small>}</p>
      <ul>{badges.map((badge) => <Row key={`${badge.about} ${badge.index}`} job={job} badge={badge} />)}</ul>
      {relations.length > 0 && <p>{relations.join("; ")}.</p>}
      {unknown.length > 0 && <p class="note">The detector cannot tell: {unknown.join(", ")}.</p>}
    </div>
  );
}

function Row({ job, badge }: { job: Job; badge: Badge }) {
  const { isOpen, toggle, close, root, onKeyDown } = useMenu();
  return (
    <li>
      <Mark badge={badge} /> <span class="row-words">{badge.phrase} <small>{badge.isFine ? "fine, you said" : badge.words}</small></span>
      {isChangeable(job) && (
        <div class="menu" ref={root} onKeyDown={onKeyDown}>
          <button type="button" class="icon-button" aria-haspopup="menu" aria-expanded={isOpen} aria-label={`Change ${badge.phrase}`} title="Change this alone" onClick={toggle}><Icon name="wand" /></button>
          {isOpen && <div class="menu-items" role="menu" aria-label={badge.phrase}><BadgeItems job={job} badge={badge} close={close} /></div>}
        </div>
      )}
    </li>
  );
}
