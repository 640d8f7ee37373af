import { expect, it } from "vitest";
import type { Attempt, Job, ObjectVerdict, Verdict } from "../../src/api";
import { attemptWords, badgesOf, countInWords, isRight, objectWords, relationsInWords, shares, verdictInWords } from "../../src/model/verdict";

const canvas = { width: 200, height: 100 };
const layout = { canvas, objects: [], background: "", negative: "" };
const object = (more: Partial<ObjectVerdict>): ObjectVerdict => ({ phrase: "a dog", box: [0, 0, 100, 50], found: false, state: "missing", score: 0.92, detected_box: null, iou: 0, seen_as: null, ...more });
const verdict = (more: Partial<Verdict>): Verdict => ({ right: false, summary: "", evaluator: null, thresholds: null, objects: [], extra: [], excluded: [], relations: [], unknown: [], ...more });
const badges = (more: Partial<Verdict>, decisions: Job["decisions"] = []) => badgesOf({ verdict: verdict(more), layout, decisions });

it("each state has its words, and what can be done about it", () => {
  const seen: [number, number, number, number] = [100, 50, 100, 50];
  const all = [
    object({ state: "right", found: true, detected_box: [0, 0, 120, 40] }),
    object({ state: "unsure", score: 0.3, detected_box: [0, 0, 100, 40] }),
    object({ state: "missing" }),
    object({ state: "wrong_attribute", detected_box: [0, 0, 100, 40], seen_as: "a red dog" }),
    object({ state: "misplaced", detected_box: seen }),
  ];
  const found = badges({ objects: all });
  expect(found.map(({ state, words }) => [state, words])).toEqual([
    ["right", "right, 92 % sure"], ["unsure", "perhaps there, 30 % sure"], ["missing", "not seen"], ["wrong colour", "looks like a red dog"], ["misplaced", "seen elsewhere, 92 % sure"],
  ]);
  const [wanted, both, elsewhere] = [[0, 0, 0.5, 0.5], [0, 0, 0.6, 0.5], [0.5, 0.5, 1, 1]];
  expect(found.map(({ repaint }) => repaint?.operation)).toEqual([
    { op: "replace", phrase: "a dog", bbox: both }, { op: "replace", phrase: "a dog", bbox: wanted }, { op: "add", phrase: "a dog", bbox: wanted },
    { op: "recolour", phrase: "a dog", bbox: wanted }, { op: "move", phrase: "a dog", from: elsewhere, to: wanted },
  ]);
  expect(found.map(({ remove }) => remove !== null)).toEqual([true, true, false, true, true]);
});

it("what is too much can be removed, and not repainted", () => {
  const [extra, excluded] = badges({ extra: [{ phrase: "a cat", box: [0, 0, 20, 20], score: 0.8 }], excluded: [{ phrase: "a fish", box: [0, 0, 20, 20], score: 0.7 }] });
  expect(extra).toMatchObject({ about: "extra", state: "extra", words: "one too many, 80 % sure", repaint: null, remove: { op: "remove", phrase: "a cat", bbox: [0, 0, 0.1, 0.2] } });
  expect(excluded).toMatchObject({ about: "excluded", state: "excluded", words: "must not be there, 70 % sure" });
});

it("what somebody said is fine counts as right", () => {
  const objects = [object({ state: "right", found: true }), object({ state: "misplaced" })];
  const extra = [{ phrase: "a cat", box: [0, 0, 20, 20] as [number, number, number, number], score: 0.8 }];
  expect(verdictInWords(badges({ objects, extra }))).toBe("1 of 2 objects are where they were meant to be. One thing is too many.");
  const fine = badges({ objects, extra }, [{ about: "object", index: 1, fine: true }, { about: "extra", index: 0, fine: true }]);
  expect(fine.every(isRight)).toBe(true);
  expect(verdictInWords(fine)).toBe("2 of 2 objects are where they were meant to be.");
});

it("verdicts are counted", () => {
  expect(verdictInWords([])).toBe("");
  expect(verdictInWords(badges({ objects: [object({ state: "right" })] }))).toBe("The object is where it was meant to be.");
  expect(verdictInWords(badges({ objects: [object({})] }))).toBe("The object is not as it was meant to be.");
  const twice = { phrase: "a fish", box: [0, 0, 1, 1] as [number, number, number, number], score: 1 };
  expect(verdictInWords(badges({ excluded: [twice, twice] }))).toBe("2 things are too many.");
  expect(countInWords(verdict({ objects: [object({ state: "right" }), object({})], extra: [twice] }))).toBe("1 of 2 right, 1 extra");
  expect(countInWords(null)).toBe("not looked at");
});

it("what stands otherwise than the caption says is told", () => {
  const objects = [object({ phrase: "a dog" }), object({ phrase: "a bowl" })];
  const relation = (state: "pass" | "fail" | "unsure") => ({ subject: 0, relation: "left_of", object: 1, state });
  expect(relationsInWords(verdict({ objects, relations: [relation("pass"), relation("fail"), relation("unsure")] }))).toEqual(["a dog is not left of a bowl"]);
});

it("verdicts of before there were states are read", () => {
  const old = (found: boolean, seen: ObjectVerdict["detected_box"]): ObjectVerdict => ({ phrase: "a dog", box: [0, 0, 100, 100], found, score: 0.92, detected_box: seen }) as ObjectVerdict;
  expect(objectWords(old(true, [0, 0, 90, 90]))).toBe("right, 92 % sure");
  expect(objectWords(old(false, [100, 0, 90, 90]))).toBe("seen elsewhere, 92 % sure");
  expect(objectWords(old(false, null))).toBe("not seen");
  const bare = { objects: [old(false, null)] } as unknown as Verdict;
  expect(badgesOf({ verdict: bare, layout })).toHaveLength(1);
});

it("nothing is said without a verdict or a layout", () => {
  expect(badgesOf({ verdict: null, layout, decisions: [] })).toEqual([]);
  expect(badgesOf({ verdict: verdict({ objects: [object({})] }), layout: null, decisions: [] })).toEqual([]);
});

it("boxes become shares, and what reaches over an edge ends there", () => {
  expect(shares([-10, 50, 110, 80], canvas)).toEqual([0, 0.5, 0.5, 1]);
});

it("a try is said in short", () => {
  const attempt: Attempt = { seed: 7, seed_text: "7", verdict: null, operations: [], accepted: true, summary: "", work: 1, image: null };
  expect(attemptWords(attempt)).toBe("seed 7");
  const operations: Attempt["operations"] = [{ op: "add", phrase: "a bowl", bbox: [0, 0, 1, 1] }, { op: "remove", phrase: "a cat", bbox: [0, 0, 1, 1] }];
  expect(attemptWords({ ...attempt, operations })).toBe("added a bowl and 1 more");
});
