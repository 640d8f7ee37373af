// What was tried on the way to a checked picture, to be looked through.
import { type Job, api } from "../api";
import { attemptWords, countInWords } from "../model/verdict";
import { shownAttempt } from "../store";
import { Icon } from "./icons";
import { Image } from "./Image";

export function Attempts({ job }: { job: Job }) {
  const attempts = job.attempts ?? [];
  if (attempts.length === 0) return null;
  const kept = attempts.map(({ accepted }) => accepted).lastIndexOf(true);
  return (
    <section class="attempts" aria-label="Tries">
      <h2>Tries <span class="count-note">{attempts.length}</span></h2>
      <ol class="cards">
        {attempts.map((attempt, number) => (
          <li key={number}>
            <button type="button" class="card" aria-pressed={shownAttempt.value === number} onClick={() => { shownAttempt.value = shownAttempt.value === number ? null : number; }}>
              <span class="thumb"><Image address={api.attemptPath(job.id, number)} alt="" /></span>
              <span class="card-words">{number + 1}. {attemptWords(attempt)}</span>
              <small>{number === kept && <><Icon name="check" /> kept: </>}{countInWords(attempt.verdict)}</small>
            </button>
          </li>
        ))}
      </ol>
    </section>
  );
}
