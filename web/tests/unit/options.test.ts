import { expect, it } from "vitest";
import { groupsOf, hintOf, isWithin, textOf, valueOf } from "../../src/model/options";
import { lmd, option } from "./offered";

it("options stand under the headings of what they belong to, none lost", () => {
  expect(groupsOf(lmd.options).map(({ group, options }) => [group, options.map(({ name }) => name)])).toEqual([
    ["Masks", ["mask_prompt"]],
    ["Guidance", ["max_iter", "frozen_step_ratio"]],
  ]);
});

it("a hint says help, words, range, unit and the published value, as far as there are such", () => {
  const words = { summary: "What SAM is asked with.", details: "More.", choices: ["box", "point"], choices_help: ["The box.", "A point."], published: "point" };
  expect(hintOf(option("mask_prompt", "choice", "box", words))).toBe("What SAM is asked with.\nMore.\nbox: The box.\npoint: A point.\nPublished: point");
  const share = { summary: "A share.", unit: "share of the cells", range: { minimum: 0, maximum: 1, above_minimum: true, below_maximum: false } };
  expect(hintOf(option("top_p", "number", 0.2, share))).toBe("A share.\nabove 0 to 1, share of the cells");
  expect(hintOf(option("use", "boolean", true, { summary: "Whether." }))).toBe("Whether.");
});

it("ranges have open and closed ends", () => {
  const share = option("top_p", "number", 0.2, { range: { minimum: 0, maximum: 1, above_minimum: true, below_maximum: false } });
  expect([0, 0.1, 1, 1.1].map((x) => isWithin(share, x))).toEqual([false, true, true, false]);
  expect(isWithin(option("scale", "number", 1), -5)).toBe(true);
});

it("lists are shown and typed with what repeats once", () => {
  const list = lmd.options[1]!;
  expect(textOf(list, [4, 4, 3])).toBe("4 ×2, 3");
  expect(["4 ×2, 3", "4x2,3", "[4, 4, 3]"].map((text) => valueOf(list, text))).toEqual([[4, 4, 3], [4, 4, 3], [4, 4, 3]]);
  expect(valueOf(list, "")).toEqual([]);
  expect(["four", "4,", "4 ×", "[4", "{}", "2000"].map((text) => valueOf(list, text))).toEqual(Array(6).fill(undefined));
});

it("texts, seeds and tables are typed as what they are", () => {
  const prompt = option("overall_prompt", "text", null, { nullable: true });
  expect([valueOf(prompt, ""), valueOf(prompt, "5"), valueOf(prompt, " a cat ")]).toEqual([null, "5", " a cat "]);
  const seed = option("fg_seed_start", "integer", null, { nullable: true });
  expect(["7", "18446744073709551615", "-1", "x", ""].map((text) => valueOf(seed, text))).toEqual([7, "18446744073709551615", undefined, undefined, null]);
  const table = option("object_weights", "table", {});
  expect(['{"a cat": 2}', "[]", "2", ""].map((text) => valueOf(table, text))).toEqual([{ "a cat": 2 }, undefined, undefined, undefined]);
  expect(textOf(table, { "a cat": 2 })).toBe('{"a cat":2}');
});
