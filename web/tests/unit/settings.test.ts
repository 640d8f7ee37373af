import { expect, it } from "vitest";
import type { Options, Recipe } from "../../src/api";
import { requestFromSettings, settingsFromOptions, settingsFromRecipe, splitOptions, withOption } from "../../src/model/settings";

const lmd = {
  name: "lmd", summary: "", needs_layout: true,
  options: [
    { name: "mask_prompt", kind: "choice", default: "box", choices: ["box", "point"] },
    { name: "max_iter", kind: "list", default: [4, 3] },
    { name: "frozen_step_ratio", kind: "number", default: 0.5 },
  ],
};
const sd = { name: "sd", summary: "", needs_layout: false, options: [] };
const offered: Options = {
  version: "1", methods: [lmd, sd], models: [{ id: "miniature", image_size: { width: 128, height: 128 } }], schedulers: ["ddim", "euler"],
  defaults: { method: "lmd", model: "miniature", scheduler: "ddim", steps: 50, guidance_scale: 7.5, seed: 0 },
  limits: { boxes: 100, pixels: 1, steps: 200, body_bytes: 1, images: 4, caption_chars: 4000 }, planner: { name: "built-in" },
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
  const recipe: Recipe = { caption: "", layout: null, method: "lmd", model: "gone", seed: 7, steps: 12, guidance_scale: 3, scheduler: "euler", options: { frozen_step_ratio: 0.4, unheard_of: 1, mask_prompt: "box" }, width: 128, height: 128, negative: "blurry" };
  const now = settingsFromRecipe(recipe, offered, withOption(start, lmd, "max_iter", [1]));
  expect(now).toMatchObject({ method: "lmd", model: "miniature", seed: 7, steps: 12, guidanceScale: 3, negative: "blurry", width: 128, scheduler: "euler", options: { lmd: { frozen_step_ratio: 0.4 } } });
});

it("options that matter come first, in their own order, and none is lost", () => {
  const { shown, folded } = splitOptions(lmd);
  expect(shown.map((option) => option.name)).toEqual(["frozen_step_ratio"]);
  expect(folded.map((option) => option.name)).toEqual(["mask_prompt", "max_iter"]);
});
