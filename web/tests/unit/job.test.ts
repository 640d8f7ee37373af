import { expect, it } from "vitest";
import type { Attempt, Job } from "../../src/api";
import { beforeOf, madeWith, pictureOf, sizeOf, stateInWords, timeLeft } from "../../src/model/job";

const job: Job = {
  id: "a/b", state: "done", caption: "a dog", layout: null, method: "lmd", model: "miniature", seed: 1, steps: 20, guidance_scale: null, scheduler: null, options: {},
  negative: null, width: 128, height: 128, guidance_interval: null, deep_every: null, merge_tokens: null, text_encoder: null, negative_encoder: null,
  created: "2026-01-01T00:00:00Z", started: null, finished: null, position: null, progress: null, error: null, image: "/api/jobs/x/image.png", verdict: null, warnings: [],
};

const attempt = (operations: Attempt["operations"]): Attempt => ({ seed: 1, seed_text: "1", verdict: null, operations, accepted: true, summary: "", work: 1, image: null });

it("a picture's address is built from the job's name, which is no path", () => {
  expect(pictureOf(job, new Map())).toBe("api/jobs/a%2Fb/image.png");
});

it("a picture has the shape that was painted, not its layout's", () => {
  const layout = { canvas: { width: 768, height: 512 }, objects: [], background: "", negative: "" };
  expect(sizeOf({ ...job, layout })).toEqual({ width: 128, height: 128 });
  expect(sizeOf({ ...job, layout, width: null, height: null })).toEqual(layout.canvas);
});

it("a job that is painted shows its preview, a dropped file itself", () => {
  const previews = new Map([["a/b", "data:image/png;base64,"]]);
  expect(pictureOf({ ...job, state: "running", image: null }, previews)).toBe("data:image/png;base64,");
  expect(pictureOf({ ...job, state: "running", image: null }, new Map())).toBeNull();
  expect(pictureOf({ ...job, id: "file:dog.png:0", image: "blob:1" }, new Map())).toBe("blob:1");
});

it("an edit shows what it changes until it has something to show", () => {
  const edit: Job = { ...job, id: "b", state: "running", image: null, edit: { job: "a", operations: [] } };
  expect(pictureOf(edit, new Map())).toBe("api/jobs/a/image.png");
  expect(pictureOf(edit, new Map([["b", "data:image/png;base64,"]]))).toBe("data:image/png;base64,");
  expect(pictureOf({ ...edit, state: "done", image: "x" }, new Map())).toBe("api/jobs/b/image.png");
  expect(beforeOf(edit)).toBe("api/jobs/a/image.png");
  expect(beforeOf(job)).toBeNull();
});

it("states are said in words", () => {
  expect(stateInWords({ ...job, state: "queued", position: 0 })).toBe("Next in the queue");
  expect(stateInWords({ ...job, state: "queued", position: 3 })).toBe("In the queue, 3 before it");
  expect(stateInWords({ ...job, state: "running" })).toBe("Getting ready");
  expect(stateInWords({ ...job, state: "running", progress: { stage: "painting the picture", step: 2, steps: 20, seconds_left: null } })).toBe("Painting the picture, 10 %");
  expect(stateInWords({ ...job, state: "running", progress: { stage: "decoding", step: 0, steps: 0, seconds_left: null } })).toBe("Decoding");
  const attempts = [attempt([])];
  expect(stateInWords({ ...job, state: "running", attempts, progress: { stage: "painting the picture", step: 1, steps: 4, seconds_left: null } })).toBe("Try 2: painting the picture, 25 %");
});

it("how it was made is told without what is as usual", () => {
  expect(madeWith(job)).toEqual(["lmd", "miniature", "seed 1", "20 steps"]);
  const plain = { ...job, guidance_interval: [0, 1] as [number, number], deep_every: 1, merge_tokens: 1 };
  expect(madeWith(plain)).toEqual(madeWith(job));
  const fast = { ...job, guidance_interval: [0, 0.6] as [number, number], deep_every: 2, merge_tokens: 2, text_encoder: "ella" };
  expect(madeWith(fast).slice(4)).toEqual(["guided from 0 to 0.6", "deep layers every 2 steps", "tokens merged by 2", "ella"]);
});

it("time is told as people tell it", () => {
  expect([0.2, 12.4, 89, 95, 600].map(timeLeft)).toEqual(["a second left", "12 s left", "89 s left", "2 min left", "10 min left"]);
});
