import { expect, it } from "vitest";
import type { Recipe } from "../../src/api";
import { readSeed } from "../../src/model/seed";
import { isChecked, notOffered, requestFromSettings, settingsFromForeign, settingsFromOptions, settingsFromRecipe, splitOptions, withOption } from "../../src/model/settings";
import { lmd, offered } from "./offered";

const recipe: Recipe = {
  caption: "", layout: null, method: "lmd", model: "miniature", seed: 7, seed_text: "7", steps: 12, guidance_scale: 3, scheduler: "euler", options: {}, negative: null, width: 128, height: 128,
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
  expect(requestFromSettings(now, false).options).toEqual({ frozen_step_ratio: 0.4 });
  expect(requestFromSettings({ ...now, method: "sd" }, false)).not.toHaveProperty("options");
  expect(requestFromSettings(withOption(now, lmd, "frozen_step_ratio", 0.5), false)).not.toHaveProperty("options");
});

it("a recipe's settings come back, and what belongs to another server stays as it was and is told", () => {
  const other: Recipe = { ...recipe, model: "gone", options: { frozen_step_ratio: 0.4, mask_prompt: "box" }, negative: "blurry", text_encoder: "unheard-of" };
  expect(notOffered(other, offered)).toEqual(["the model “gone”", "the text encoder “unheard-of”"]);
  expect(notOffered(recipe, offered)).toEqual([]);
  const now = settingsFromRecipe(other, offered, withOption(start, lmd, "max_iter", [1]));
  expect(now).toMatchObject({ method: "lmd", model: "miniature", seed: "7", steps: 12, guidanceScale: 3, negative: "blurry", width: 128, scheduler: "euler", textEncoder: null, options: { lmd: { frozen_step_ratio: 0.4 } } });
});

it("a recipe of an unknown method or option is refused by name", () => {
  expect(() => settingsFromRecipe({ ...recipe, method: "lmd-3" }, offered, start)).toThrow("the method “lmd-3”");
  expect(() => settingsFromRecipe({ ...recipe, options: { unheard_of: 1 } }, offered, start)).toThrow("the option “unheard_of” of lmd");
});

it("seeds are exact: as text, from every form that a server or an older page gives", () => {
  const large = "18446744073709551615";
  const now = settingsFromRecipe({ ...recipe, seed: Number(large), seed_text: large }, offered, start);
  expect(requestFromSettings(now, false).seed).toBe(large);
  expect(settingsFromRecipe((({ seed_text: _, ...older }) => older)(recipe), offered, start).seed).toBe("7");
  expect(settingsFromOptions(offered, { ...start, seed: 12 as unknown as string }).seed).toBe("12");
});

it("a seed is a whole number below 2^64", () => {
  expect(["0", " 007 ", "9007199254740993", "18446744073709551615"].map(readSeed)).toEqual(["0", "7", "9007199254740993", "18446744073709551615"]);
  expect(["", "-1", "1.5", "1e3", "18446744073709551616", "seed"].map(readSeed)).toEqual([null, null, null, null, null, null]);
});

it("of another program's picture, what means something here is taken over", () => {
  const picture = { program: "ComfyUI", version: null, prompt: "a dog", caption: "a dog", negative: null, seed: "9007199254740993", width: 512, height: 768, steps: null, guidance_scale: 7, sampler: "euler", model: "x", notes: [] };
  expect(settingsFromForeign(picture, start)).toEqual({ ...start, seed: "9007199254740993", width: 512, height: 768, guidanceScale: 7 });
  expect(settingsFromForeign({ ...picture, seed: "none", width: null, height: null, guidance_scale: null }, start)).toEqual(start);
});

it("options that matter come first, in their own order, and none is lost", () => {
  const { shown, folded } = splitOptions(lmd);
  expect(shown.map((option) => option.name)).toEqual(["frozen_step_ratio"]);
  expect(folded.map((option) => option.name)).toEqual(["mask_prompt", "max_iter"]);
});

it("what trades quality for time and what reads the text go with jobs and come back from them", () => {
  const how = { textEncoder: "ella+clip", negativeEncoder: "clip", guidanceInterval: [0.1, 0.8] as [number, number], deepEvery: 3, mergeTokens: 2, negative: "blurry", width: 256 };
  const { seed: _, ...sent } = requestFromSettings({ ...start, ...how }, false);
  expect(sent).toMatchObject({ text_encoder: "ella+clip", negative_encoder: "clip", guidance_interval: [0.1, 0.8], deep_every: 3, merge_tokens: 2 });
  expect(settingsFromRecipe({ ...recipe, ...sent }, offered, start)).toMatchObject(how);
  const off = { textEncoder: null, negativeEncoder: null, guidanceInterval: null, deepEvery: null, mergeTokens: null, negative: null, width: null };
  expect(settingsFromRecipe(recipe, offered, { ...start, ...how })).toMatchObject(off);
  expect(Object.keys(requestFromSettings({ ...start, ...off }, false)).sort()).toEqual(["guidance_scale", "judge", "method", "model", "scheduler", "seed", "steps"]);
});

it("a session of before there were such settings, or of another server, is taken up", () => {
  const { textEncoder: _, deepEvery: __, ...older } = start;
  expect(settingsFromOptions(offered, older as typeof start)).toEqual(start);
  expect(settingsFromOptions(offered, { ...start, textEncoder: "gone" }).textEncoder).toBeNull();
  expect(settingsFromOptions(offered, { ...start, textEncoder: "ella", mergeTokens: 2 })).toMatchObject({ textEncoder: "ella", mergeTokens: 2 });
});

it("tries and repairs are asked for where somebody can look", () => {
  const wanting = { ...start, attempts: 4, repair: true };
  expect(requestFromSettings(wanting, true)).toMatchObject({ attempts: 4, repair: true });
  for (const request of [requestFromSettings(wanting, false), requestFromSettings(start, true)]) {
    expect(request).not.toHaveProperty("attempts");
    expect(request).not.toHaveProperty("repair");
  }
  expect(isChecked("miniature", offered)).toBe(true);
  expect(isChecked("gone", offered)).toBe(false);
  const { attempts: _, repair: __, ...older } = start;
  expect(settingsFromOptions(offered, older as typeof start)).toMatchObject({ attempts: 1, repair: false });
});
