// The whole way: a caption is planned, a box moved, the picture painted, looked at, downloaded and dropped back.
import type { Browser } from "playwright-core";
import { afterAll, beforeAll, expect, it } from "vitest";
import type { BBox, Job } from "../../src/api";
import { CAPTION, STEPS, boxNamed, boxes, bytesOf, drag, drop, expectNoComplaints, keepScreenshot, launch, numbersOf, openPage, paint, pictureIsFinished, plan, setSteps } from "./page";
import { Program } from "./program";

let program: Program;
let browser: Browser;

beforeAll(async () => { [program, browser] = await Promise.all([Program.start(), launch()]); });
afterAll(async () => { await browser?.close(); await program?.stop(); });

const jobs = async (): Promise<Job[]> => ((await (await fetch(`${program.url}api/jobs`)).json()) as { jobs: Job[] }).jobs;

/** Intersection over union of two boxes. */
function overlap([ax, ay, aw, ah]: BBox, [bx, by, bw, bh]: BBox): number {
  const width = Math.max(0, Math.min(ax + aw, bx + bw) - Math.max(ax, bx));
  const height = Math.max(0, Math.min(ay + ah, by + bh) - Math.max(ay, by));
  return (width * height) / (aw * ah + bw * bh - width * height);
}

it("plan, move a box, paint, and the thing is where the box was put; download, drop back", async () => {
  const { page, complaints } = await openPage(browser, program.url);
  await plan(page);
  const dog = boxNamed(page, "a blue dog");
  await drag(page, dog, 0, -90);
  await page.keyboard.press("Shift+ArrowRight");
  const moved = await numbersOf(dog);
  const umbrella = await numbersOf(boxNamed(page, "a yellow umbrella"));
  await keepScreenshot(page, "planned");

  await setSteps(page, STEPS);
  await page.getByLabel("Seed", { exact: true }).fill("1");
  await paint(page);
  const progress = page.getByRole("progressbar", { name: "Painting" });
  await progress.waitFor();
  await page.getByText(/, \d+ %$/).first().waitFor();
  await page.getByAltText("The picture so far").waitFor(); // a preview, before there is a picture
  await keepScreenshot(page, "painting");
  await pictureIsFinished(page);
  await page.getByText(/objects are where they were meant to be/).first().waitFor();
  await keepScreenshot(page, "finished");

  // The detector's word, not the page's: the dog is in the box it was moved to.
  const [job] = await jobs();
  if (!job) throw new Error("no job");
  const seen = job.verdict?.objects.find((verdict) => verdict.phrase === "a blue dog");
  expect(seen?.box).toEqual(moved);
  expect(seen?.found).toBe(true);
  expect(overlap(seen?.detected_box ?? [0, 0, 1, 1], moved)).toBeGreaterThan(0.5);

  const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("button", { name: "Download" }).click()]);
  expect(download.suggestedFilename()).toMatch(/^a-blue-dog-and-a-yellow-umbrella-on-a-beach-.*-1\.png$/);
  const png = await bytesOf(download);
  expectNoComplaints(complaints);
  await page.context().close();

  // Someone else's browser, which has seen nothing of this.
  const other = await openPage(browser, program.url);
  await other.page.getByLabel("Caption: what the picture shows").fill("something else");
  await drop(other.page, "dog.png", "image/png", png);
  await other.page.getByAltText(CAPTION).first().waitFor();
  await other.page.getByRole("tab", { name: "Layout" }).click();
  expect(await numbersOf(boxNamed(other.page, "a blue dog"))).toEqual(moved);
  expect(await numbersOf(boxNamed(other.page, "a yellow umbrella"))).toEqual(umbrella);
  expect(await other.page.getByLabel("Caption: what the picture shows").inputValue()).toBe(CAPTION);
  expect(await other.page.getByLabel("Steps", { exact: true }).inputValue()).toBe(String(STEPS));
  expect(await other.page.getByLabel("Seed", { exact: true }).inputValue()).toBe("1");
  expectNoComplaints(other.complaints);
  await other.page.context().close();
});

it("one press of Paint is enough: the server plans, and its layout is there to edit", async () => {
  const { page, complaints } = await openPage(browser, program.url);
  await page.getByLabel("Caption: what the picture shows").fill("a red car and a white cup on a street");
  await setSteps(page, 4);
  await paint(page);
  await pictureIsFinished(page);
  await page.getByRole("tab", { name: "Layout" }).click();
  expect(await boxes(page).count()).toBe(2);
  expectNoComplaints(complaints);
  await page.context().close();
});

it("a seed above 2^53 paints the same picture from the page as it did before", async () => {
  const { page, complaints } = await openPage(browser, program.url);
  const seed = "9007199254740993"; // 2^53 + 1: a number of JavaScript is one less
  await plan(page);
  await setSteps(page, 2);
  await page.getByLabel("Seed", { exact: true }).fill(seed);
  const painted: Buffer[] = [];
  for (let turn = 0; turn < 2; turn++) {
    await paint(page);
    await page.getByText(`seed ${seed}`).first().waitFor();
    await pictureIsFinished(page);
    const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("button", { name: "Download" }).click()]);
    expect(download.suggestedFilename()).toContain(`-${seed}.png`);
    painted.push(await bytesOf(download));
    // The second time from the picture: its settings are taken up from the gallery.
    await page.getByLabel("Seed", { exact: true }).fill("7");
    await page.getByRole("button", { name: "Edit this" }).click();
    expect(await page.getByLabel("Seed", { exact: true }).inputValue()).toBe(seed);
  }
  expect(painted[1]?.equals(painted[0] as Buffer)).toBe(true);
  expectNoComplaints(complaints);
  for (const job of (await jobs()).slice(0, 2)) await fetch(`${program.url}api/jobs/${job.id}`, { method: "DELETE" });
  await page.context().close();
});

it("two seeds are compared, the gallery is searched, a picture deleted", async () => {
  const { page, complaints } = await openPage(browser, program.url);
  await plan(page);
  await setSteps(page, 4);
  await page.getByLabel("Seed", { exact: true }).fill("5");
  await paint(page);
  await pictureIsFinished(page);
  await page.getByRole("button", { name: "Compare", exact: true }).click();
  const slider = page.getByRole("slider", { name: /left picture/ });
  const cut = (): Promise<string> => page.locator(".comparison .over").evaluate((element) => getComputedStyle(element).clipPath);
  const before = await cut();
  await slider.focus();
  await page.keyboard.press("ArrowRight");
  expect(await cut()).not.toBe(before);
  await keepScreenshot(page, "compared");

  const cards = page.getByRole("region", { name: "Pictures" }).getByRole("listitem");
  expect(await cards.count()).toBe(3);
  await page.getByRole("searchbox").fill("white cup");
  await expect.poll(() => cards.count()).toBe(1);
  await cards.first().getByRole("button").click();
  await page.getByRole("button", { name: "Delete this picture" }).click();
  await page.getByText("No caption has").waitFor();
  expect((await jobs()).length).toBe(2);
  await page.getByRole("searchbox").fill("");
  await expect.poll(() => cards.count()).toBe(2);
  await keepScreenshot(page, "gallery");
  expectNoComplaints(complaints);
  await page.context().close();
});

it("options of the method have fields after their descriptions, and what they hold is painted with", async () => {
  const { page, complaints } = await openPage(browser, program.url);
  await plan(page);
  await setSteps(page, 3);
  await page.locator("summary").filter({ hasText: "All options" }).click();
  const group = (name: string) => page.getByRole("group", { name, exact: true });
  await group("Guidance").getByLabel("max iter", { exact: true }).fill("1 ×2, 0");
  await group("Guidance").getByLabel("fg weight", { exact: true }).fill("2.5");
  await group("Objects painted alone").getByLabel("so vertical placement").selectOption("centered");
  await group("Deviations from the reference").getByLabel("keep on canvas", { exact: true }).uncheck();
  const prompt = group("Prompts").getByLabel("overall prompt", { exact: true });
  await prompt.fill("a photo");
  const wrong = group("Guidance").getByLabel("overall max iter", { exact: true });
  await wrong.fill("often");
  expect(await wrong.getAttribute("aria-invalid")).toBe("true");
  await prompt.focus();
  expect(await wrong.inputValue()).toBe("4 ×5, 3 ×5, 2 ×10, 1 ×10");
  await prompt.fill("");
  await wrong.focus();
  await paint(page);
  await pictureIsFinished(page);
  const [job] = await jobs();
  expect(job).toMatchObject({ options: { max_iter: [1, 1, 0], fg_weight: 2.5, so_vertical_placement: "centered", keep_on_canvas: false } });
  expect(Object.keys(job?.options ?? {})).toHaveLength(4);
  expectNoComplaints(complaints);
  await page.context().close();
});

it("speed and text are painted with, and come back from the picture, from the gallery and from a scene file", async () => {
  const { page, complaints } = await openPage(browser, program.url);
  const FIELDS = [["Guidance from", "0.2"], ["Guidance until", "0.8"], ["Deep layers every", "2"], ["Merge tokens", "2"], ["Text encoder", "ella+clip"], ["Negative encoder", "clip"]] as const;
  const field = (of: typeof page, label: string) => of.getByLabel(label, { exact: !label.endsWith("encoder") }); // a list's choices are part of its label
  const values = (of: typeof page): Promise<string[]> => Promise.all(FIELDS.map(([label]) => field(of, label).inputValue()));
  const wanted = FIELDS.map(([, value]) => value);
  await plan(page);
  await setSteps(page, 4);
  await page.locator("summary").filter({ hasText: "Speed and text" }).click();
  for (const [label, value] of FIELDS) {
    if (label.endsWith("encoder")) await field(page, label).selectOption(value);
    else await field(page, label).fill(value);
  }
  await keepScreenshot(page, "speed-and-text");
  await paint(page);
  await pictureIsFinished(page);
  await page.getByText("guided from 0.2 to 0.8 · deep layers every 2 steps · tokens merged by 2 · ella+clip").waitFor();
  const [job] = await jobs();
  expect(job).toMatchObject({ guidance_interval: [0.2, 0.8], deep_every: 2, merge_tokens: 2, text_encoder: "ella+clip", negative_encoder: "clip" });

  const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("button", { name: "Download" }).click()]);
  const png = await bytesOf(download);
  await page.getByRole("button", { name: "Save" }).click();
  const [scene] = await Promise.all([page.waitForEvent("download"), page.getByRole("menuitem", { name: /^Scene file/ }).click()]);
  const files = [["fast.png", "image/png", png], ["fast.sinopia.json", "application/json", await bytesOf(scene)]] as const;
  for (const [label, value] of FIELDS) {
    if (label.endsWith("encoder")) await field(page, label).selectOption({ index: 0 });
    else await field(page, label).fill("");
    expect(await field(page, label).inputValue()).not.toBe(value);
  }
  await page.getByRole("button", { name: "Edit this" }).click();
  expect(await values(page)).toEqual(wanted);
  expectNoComplaints(complaints);
  await page.context().close();

  for (const [name, type, bytes] of files) {
    const other = await openPage(browser, program.url);
    await drop(other.page, name, type, bytes);
    await other.page.locator("summary").filter({ hasText: "Speed and text changed" }).click();
    expect(await values(other.page)).toEqual(wanted);
    expectNoComplaints(other.complaints);
    await other.page.context().close();
  }
});
