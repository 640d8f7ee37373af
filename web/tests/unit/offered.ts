// What a server offers, for tests of settings.
import type { Options } from "../../src/api";

export const lmd = {
  name: "lmd", summary: "", needs_layout: true,
  options: [
    { name: "mask_prompt", kind: "choice", summary: "", default: "box", choices: ["box", "point"] },
    { name: "max_iter", kind: "list", summary: "", default: [4, 3] },
    { name: "frozen_step_ratio", kind: "number", summary: "", default: 0.5 },
  ],
};
export const sd = { name: "sd", summary: "", needs_layout: false, options: [] };
export const offered: Options = {
  version: "1", methods: [lmd, sd], models: [{ id: "miniature", image_size: { width: 128, height: 128 } }], schedulers: ["ddim", "euler"], text_encoders: ["clip", "ella", "ella+clip"],
  defaults: { method: "lmd", model: "miniature", scheduler: "ddim", steps: 50, guidance_scale: 7.5, seed: 0 },
  limits: { boxes: 100, pixels: 1, steps: 200, body_bytes: 1, images: 4, caption_chars: 4000 }, planner: { name: "built-in", edits: false },
};
