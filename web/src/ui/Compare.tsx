// Two pictures in one frame, parted by a line that moves.
import { useState } from "preact/hooks";
import type { Job } from "../api";
import { pictureOf, sizeOf } from "../model/job";
import { seedOf } from "../model/seed";
import { compared, jobs, previews, shownId, strip } from "../store";
import { Select } from "./controls";
import { Image } from "./Image";
import { Paper } from "./Paper";

export function Compare() {
  const [percent, setPercent] = useState(50);
  const finished = strip.value.map((id) => jobs.value.get(id)).filter((job) => job?.state === "done") as Job[];
  const extra = compared.value.map((id) => (id ? jobs.value.get(id) : undefined)).filter((job) => job !== undefined && !finished.includes(job)) as Job[];
  const all = [...finished, ...extra];
  if (all.length < 2) {
    return (
      <div class="no-picture">
        <p><strong>Two pictures</strong>, one over the other, with a line to pull between them: two methods, two seeds, before and after a move.</p>
        <p>Paint {all.length === 0 ? "two pictures" : "one more"} to compare.</p>
      </div>
    );
  }
  const right = all.find((job) => job.id === (compared.value[1] ?? shownId.value)) ?? (all[0] as Job);
  const left = all.find((job) => job.id === compared.value[0]) ?? (all.find((job) => job !== right) as Job);
  const choices = all.map((job) => [job.id, `${job.method}, seed ${seedOf(job)}: ${job.caption}`] as const);
  return (
    <>
      <div class="pair compared">
        <Select label="Left" value={left.id} choices={choices} onChange={(id) => { compared.value = [id, right.id]; }} />
        <Select label="Right" value={right.id} choices={choices} onChange={(id) => { compared.value = [left.id, id]; }} />
      </div>
      <Paper canvas={sizeOf(right)} label="Two pictures" class="comparison">
        <Picture job={right} />
        <div class="over" style={{ clipPath: `inset(0 ${100 - percent}% 0 0)` }}><Picture job={left} /></div>
        <div class="parting" style={{ left: `${percent}%` }} />
        <input type="range" min={0} max={100} value={percent} aria-label="How much of the left picture is seen" onInput={(event) => setPercent(Number(event.currentTarget.value))} />
      </Paper>
      <div class="sides" aria-hidden="true"><span>{left.method} · seed {seedOf(left)}</span><span>{right.method} · seed {seedOf(right)}</span></div>
    </>
  );
}

function Picture({ job }: { job: Job }) {
  const address = pictureOf(job, previews.value);
  return address && <Image address={address} alt={`${job.method}, seed ${seedOf(job)}: ${job.caption}`} />;
}
