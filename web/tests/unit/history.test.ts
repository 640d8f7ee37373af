import { expect, it } from "vitest";
import { type History, commit, endPart, redo, startHistory, undo } from "../../src/model/history";

const typed = (history: History<string>, ...texts: string[]): History<string> => texts.reduce((before, text) => commit(before, text, "typing"), history);

it("undoes and redoes step by step", () => {
  const history = commit(commit(startHistory("a"), "b"), "c");
  expect(undo(history).present).toBe("b");
  expect(undo(undo(undo(history))).present).toBe("a");
  expect(redo(redo(redo(undo(undo(history))))).present).toBe("c");
});

it("takes changes of one part back together", () => {
  expect(undo(typed(startHistory(""), "d", "do", "dog")).present).toBe("");
});

it("parts that were ended are undone by themselves", () => {
  const history = typed(endPart(typed(startHistory(""), "a", "ab")), "abc");
  expect(undo(history).present).toBe("ab");
});

it("a change after undo ends the way forward", () => {
  const history = commit(undo(commit(startHistory("a"), "b")), "c");
  expect(history.future).toEqual([]);
  expect(undo(history).present).toBe("a");
});

it("a part does not join across an undo", () => {
  const history = typed(undo(typed(startHistory("x"), "xy")), "xz");
  expect(undo(history).present).toBe("x");
});

it("what changes nothing is no step, and the past is bounded", () => {
  const start = startHistory("a");
  expect(commit(start, "a")).toBe(start);
  let history = startHistory(0);
  for (let step = 1; step <= 500; step++) history = commit(history, step);
  expect(history.past.length).toBe(200);
  expect(history.past[0]).toBe(300);
});
