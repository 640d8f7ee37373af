// All pictures, newest first: a strip, or a gallery over the whole width.
import { useState } from "preact/hooks";
import type { Job } from "../api";
import { loadMore, searchFor } from "../commands/gallery";
import { show } from "../commands/paint";
import { isLive, pictureOf, stateInWords } from "../model/job";
import { seedOf } from "../model/seed";
import { jobs, previews, search, shownId, strip, stripNext } from "../store";
import { IconButton } from "./controls";
import { Icon } from "./icons";
import { Image } from "./Image";
import { Miniature } from "./Candidates";

export function Strip() {
  const [isGallery, setGallery] = useState(false);
  const some = strip.value.map((id) => jobs.value.get(id)).filter((job) => job !== undefined) as Job[];
  return (
    <section class="strip" aria-label="Pictures">
      <div class="strip-head">
        <h2>Pictures</h2>
        <label class="search">
          <Icon name="search" />
          <span class="unseen">Search captions</span>
          <input type="search" value={search.value} placeholder="Search captions" onInput={(event) => searchFor(event.currentTarget.value)} />
        </label>
        <IconButton icon="grid" label={isGallery ? "Show as a strip" : "Show as a gallery"} pressed={isGallery} onClick={() => setGallery(!isGallery)} />
      </div>
      {some.length === 0 ? (
        <p class="empty">{search.value ? `No caption has “${search.value}”.` : "Pictures gather here as you paint them."}</p>
      ) : (
        <ul class={isGallery ? "cards gallery" : "cards"}>
          {some.map((job) => <Card key={job.id} job={job} />)}
          {stripNext.value !== null && <li class="more"><button type="button" class="second" onClick={() => void loadMore()}>More</button></li>}
        </ul>
      )}
    </section>
  );
}

function Card({ job }: { job: Job }) {
  const picture = pictureOf(job, previews.value);
  const words = job.state === "done" ? `${job.method} · seed ${seedOf(job)}` : stateInWords(job);
  const share = job.progress && job.progress.steps > 0 ? job.progress.step / job.progress.steps : 0;
  return (
    <li>
      <button type="button" class={`card ${job.state}`} aria-pressed={shownId.value === job.id} aria-label={`${job.caption}: ${words}`} title={job.caption} onClick={() => show(job.id)}>
        <span class="thumb">
          {picture ? <Image address={picture} alt="" /> : job.layout && <Miniature layout={job.layout} />}
          {isLive(job) && <span class="thumb-progress" style={{ width: `${100 * share}%` }} />}
        </span>
        <span class="card-words">{job.caption}</span>
        <small>{words}</small>
      </button>
    </li>
  );
}
