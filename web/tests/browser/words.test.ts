// A change asked for in words, of a language model.
import type { Browser } from "playwright-core";
import { afterAll, beforeAll, expect, it } from "vitest";
import { type ScriptedModel, startModel } from "./language_model";
import { boxNamed, expectNoComplaints, keepScreenshot, launch, numbersOf, openPage, plan } from "./page";
import { Program } from "./program";

const answer = (dogTop: number): string =>
  JSON.stringify({ objects: [{ phrase: "a blue dog", bbox: [40, dogTop, 200, 220] }, { phrase: "a yellow umbrella", bbox: [290, 150, 190, 190] }], background: "A realistic photo of a beach", negative: "" });

let browser: Browser;
let model: ScriptedModel;
let program: Program;

beforeAll(async () => {
  browser = await launch();
  model = await startModel((request) => answer(request.includes("lift the dog") ? 40 : 200));
  program = await Program.start("--llm-base-url", model.url, "--llm-model", "scripted");
});
afterAll(async () => {
  await browser?.close();
  await program?.stop();
  await model?.close();
});

it("moves what it should, and undo takes it back", async () => {
  const { page, complaints } = await openPage(browser, program.url);
  await plan(page);
  const dog = boxNamed(page, "a blue dog");
  expect(await numbersOf(dog)).toEqual([40, 200, 200, 220]);
  const words = page.getByLabel("Ask for a change in words");
  await words.fill("lift the dog");
  await page.keyboard.press("Enter");
  await expect.poll(() => numbersOf(dog)).toEqual([40, 40, 200, 220]);
  await expect.poll(() => words.inputValue()).toBe(""); // ready for the next
  await keepScreenshot(page, "asked");
  await page.getByRole("button", { name: "Undo (Ctrl+Z)" }).click();
  expect(await numbersOf(dog)).toEqual([40, 200, 200, 220]);
  expectNoComplaints(complaints);
  await page.context().close();
});

it("cannot move a locked box", async () => {
  const { page, complaints } = await openPage(browser, program.url);
  await plan(page);
  const dog = boxNamed(page, "a blue dog");
  await dog.focus();
  await page.keyboard.press("l");
  const words = page.getByLabel("Ask for a change in words");
  await words.fill("lift the dog");
  await page.keyboard.press("Enter");
  await expect.poll(() => words.inputValue()).toBe("");
  expect(await numbersOf(dog)).toEqual([40, 200, 200, 220]);
  expectNoComplaints(complaints);
  await page.context().close();
});
