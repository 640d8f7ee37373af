import { expect, it } from "vitest";
import type { Recipe } from "../../src/api";
import { requestFromSettings, settingsFromOptions, settingsFromRecipe, splitOptions, withOption } from "../../src/model/settings";
import { lmd, offered } from "./offered";

const recipe: Recipe = {
  caption: "", layout: null, method: "lmd", model: "miniature", seed: 7, steps: 12, guidance_scale: 3, scheduler: "euler", options: {}, negative: null, width: 128, height: 128,
  guidance_interval: [0, 1], deep_every: 1, merge_tokens: 1, text_encoder: "clip", negative_encoder: null,
};
const start = settingsFromOptions(offered, null);

it("starts from the server's defaults and keeps what it still offers", () => {
  expect(start).toMatchObject({ method: "lmd", model: "miniature", steps: 50, guidanceScale: 7.5, scheduler: "ddim", options: {} });
  const kept = settingsFromOptions(offered, { ...start, method: "sd", model: "gone", steps: 20 });
  expect(kept).toMatchObject({ method: "sd", model: "miniature", steps: 20 });
});

it("only options that differ from the defaults are sent, and only those of the method", () => {
  let now = withOption(start, lmd, "frozen_step_ratio", 0.4);
  now = withOption(now, lmd, "max_iter", [4, 3]);
  expect(requestFromSettings(now).options).toEqual({ frozen_step_ratio: 0.4 });
  expect(requestFromSettings({ ...now, method: "sd" })).not.toHaveProperty("options");
  expect(requestFromSettings(withOption(now, lmd, "frozen_step_ratio", 0.5))).not.toHaveProperty("options");
});

it("a recipe's settings come back, and what is not offered stays as it was", () => {
  const other: Recipe = { ...recipe, model: "gone", options: { frozen_step_ratio: 0.4, unheard_of: 1, mask_prompt: "box" }, negative: "blurry", text_encoder: "unheard-of" };
  const now = settingsFromRecipe(other, offered, withOption(start, lmd, "max_iter", [1]));
  expect(now).toMatchObject({ method: "lmd", model: "miniature", seed: 7, steps: 12, guidanceScale: 3, negative: "blurry", width: 128, scheduler: "euler", textEncoder: null, options: { lmd: { frozen_step_ratio: 0.4 } } });
});

it("options that matter come first, in their own order, and none is lost", () => {
  const { shown, folded } = splitOptions(lmd);
  expect(shown.map((option) => option.name)).toEqual(["frozen_step_ratio"]);
  expect(folded.map((option) => option.name)).toEqual(["mask_prompt", "max_iter"]);
});

it("what trades quality for time and what reads the text go with jobs and come back from them", () => {
  const how = { textEncoder: "ella+clip", negativeEncoder: "clip", guidanceInterval: [0.1, 0.8] as [number, number], deepEvery: 3, mergeTokens: 2, negative: "blurry", width: 256 };
  const sent = requestFromSettings({ ...start, ...how });
  expect(sent).toMatchObject({ text_encoder: "ella+clip", negative_encoder: "clip", guidance_interval: [0.1, 0.8], deep_every: 3, merge_tokens: 2 });
  expect(settingsFromRecipe({ ...recipe, ...sent }, offered, start)).toMatchObject(how);
  const off = { textEncoder: null, negativeEncoder: null, guidanceInterval: null, deepEvery: null, mergeTokens: null, negative: null, width: null };
  expect(settingsFromRecipe(recipe, offered, { ...start, ...how })).toMatchObject(off);
  expect(Object.keys(requestFromSettings({ ...start, ...off })).sort()).toEqual(["guidance_scale", "judge", "method", "model", "scheduler", "seed", "steps"]);
});

it("a session of before there were such settings, or of another server, is taken up", () => {
  const { textEncoder: _, deepEvery: __, ...older } = start;
  expect(settingsFromOptions(offered, older as typeof start)).toEqual(start);
  expect(settingsFromOptions(offered, { ...start, textEncoder: "gone" }).textEncoder).toBeNull();
  expect(settingsFromOptions(offered, { ...start, textEncoder: "ella", mergeTokens: 2 })).toMatchObject({ textEncoder: "ella", mergeTokens: 2 });
});
