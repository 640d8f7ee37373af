// What a server offers, for tests of settings.
import type { Method, MethodOption, OptionValue, Options } from "../../src/api";

export const option = (name: string, kind: string, value: OptionValue, more: Partial<MethodOption> = {}): MethodOption =>
  ({ name, kind, summary: "", details: "", group: "Guidance", nullable: false, default: value, ...more });
export const lmd: Method = {
  name: "lmd", summary: "", needs_layout: true,
  options: [
    option("mask_prompt", "choice", "box", { group: "Masks", choices: ["box", "point"] }),
    option("max_iter", "list", [4, 3], { range: { minimum: 0, maximum: 1000 } }),
    option("frozen_step_ratio", "number", 0.5),
  ],
};
export const sd: Method = { name: "sd", summary: "", needs_layout: false, options: [] };
export const offered: Options = {
  version: "1", methods: [lmd, sd], models: [{ id: "miniature", image_size: { width: 128, height: 128 } }], schedulers: ["ddim", "euler"], text_encoders: ["clip", "ella", "ella+clip"], settings: [],
  defaults: { method: "lmd", model: "miniature", scheduler: "ddim", steps: 50, guidance_scale: 7.5, seed: 0 },
  limits: { boxes: 100, pixels: 1, steps: 200, body_bytes: 1, images: 4, caption_chars: 4000, upload_pixels: 1 }, editing: { operations: ["add"], checked_models: ["miniature"] }, planner: { name: "built-in", edits: false },
};
