// What the detector says of each thing, and what can be done about it: one thing is painted anew and the others stay, tries are looked through.
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, expect, it } from "vitest";
import type { BBox, Job } from "../../src/api";
import { STEPS, expectNoComplaints, keepScreenshot, launch, openPage, paint, pictureIsFinished, plan, setSteps } from "./page";
import { Program } from "./program";

let program: Program;
let browser: Browser;

beforeAll(async () => { [program, browser] = await Promise.all([Program.start(), launch()]); });
afterAll(async () => { await browser?.close(); await program?.stop(); });

const read = async (path: string): Promise<unknown> => (await fetch(`${program.url}api/jobs${path}`)).json();
const jobs = async (): Promise<Job[]> => ((await read("")) as { jobs: Job[] }).jobs;

/** A thing's badge on the picture. */
const badge = (page: Page, phrase: string) => page.getByRole("group", { name: "Picture", exact: true }).getByRole("button", { name: phrase });

async function paintScene(page: Page, seed: string): Promise<Job> {
  await plan(page);
  await setSteps(page, STEPS);
  await page.getByLabel("Seed", { exact: true }).fill(seed);
  await paint(page);
  await pictureIsFinished(page);
  await badge(page, "a blue dog").waitFor();
  const [job] = await jobs();
  if (!job) throw new Error("no job");
  return job;
}

/** How many pixels of two jobs' pictures differ: within a box, and in the other half of the picture. */
async function differences(page: Page, before: Job, after: Job, [left, top, width, height]: BBox, canvas: { width: number; height: number }): Promise<{ inside: number; far: number }> {
  return page.evaluate(
    async ([addresses, box]) => {
      const [one, two] = await Promise.all(addresses.map(async (address) => {
        const bitmap = await createImageBitmap(await (await fetch(address)).blob());
        const context = new OffscreenCanvas(bitmap.width, bitmap.height).getContext("2d");
        context?.drawImage(bitmap, 0, 0);
        return context?.getImageData(0, 0, bitmap.width, bitmap.height);
      }));
      if (!one || !two) throw new Error("no pictures");
      const [x0, y0, x1, y1] = box as [number, number, number, number];
      const count = { inside: 0, far: 0 };
      for (let at = 0; at < one.data.length; at += 4) {
        if ([0, 1, 2].every((channel) => one.data[at + channel] === two.data[at + channel])) continue;
        const [x, y] = [((at / 4) % one.width) / one.width, Math.floor(at / 4 / one.width) / one.height];
        if (x >= x0 && x < x1 && y >= y0 && y < y1) count.inside += 1;
        // Masks are a little larger than boxes, so that nothing of the old thing is left.
        if (x < x0 - 0.2 || x >= x1 + 0.2 || y < y0 - 0.2 || y >= y1 + 0.25) count.far += 1;
      }
      return count;
    },
    [[before, after].map(({ id }) => `api/jobs/${id}/image.png`), [left / canvas.width, top / canvas.height, (left + width) / canvas.width, (top + height) / canvas.height]] as const,
  );
}

it("one thing is repainted, the others stay to the byte, and what was before is a press away", async () => {
  const { page, complaints } = await openPage(browser, program.url);
  const before = await paintScene(page, "1");
  // By the keyboard alone.
  await badge(page, "a blue dog").focus();
  await page.keyboard.press("Enter");
  await page.waitForFunction(() => document.activeElement?.getAttribute("role") === "menuitem");
  await page.keyboard.press("Enter");
  await page.getByRole("button", { name: "Before" }).waitFor({ timeout: 180_000 });
  const [after] = await jobs();
  if (!after?.edit || !before.layout) throw new Error("no edit");
  expect(after.edit.job).toBe(before.id);
  expect(after.caption).toBe(before.caption);
  const dog = before.layout.objects.find(({ phrase }) => phrase === "a blue dog");
  if (!dog) throw new Error("no dog");
  const { inside, far } = await differences(page, before, after, dog.bbox, before.layout.canvas);
  expect(inside).toBeGreaterThan(0);
  expect(far).toBe(0);
  await keepScreenshot(page, "repainted");
  await page.getByRole("button", { name: "Before" }).click();
  await page.getByAltText("The picture before the change").waitFor();
  await page.getByRole("button", { name: "Before" }).click();
  await page.getByRole("button", { name: "Compare", exact: true }).click();
  expect(await page.getByRole("combobox", { name: "Left" }).inputValue()).toBe(before.id);
  expect(await page.getByRole("combobox", { name: "Right" }).inputValue()).toBe(after.id);
  expectNoComplaints(complaints);
  await page.context().close();
});

it("a thing is removed, and the layout of the picture is without it", async () => {
  const { page, complaints } = await openPage(browser, program.url);
  const before = await paintScene(page, "1");
  await badge(page, "a yellow umbrella").click();
  await keepScreenshot(page, "badge");
  const remove = page.getByRole("menuitem", { name: "Remove this" });
  // Where the detector does not see it there is nothing to remove.
  if ((await remove.count()) > 0) {
    await remove.click();
    await page.getByRole("button", { name: "Before" }).waitFor({ timeout: 180_000 });
    const [after] = await jobs();
    expect(after?.edit?.job).toBe(before.id);
    expect(after?.layout?.objects.map(({ phrase }) => phrase)).toEqual(["a blue dog"]);
  }
  expectNoComplaints(complaints);
  await page.context().close();
});

it("what somebody says is fine is remembered for the picture", async () => {
  // One step paints nothing that a detector would call a dog.
  const { page, complaints } = await openPage(browser, program.url);
  await plan(page);
  await setSteps(page, 1);
  await paint(page);
  await pictureIsFinished(page);
  await badge(page, "a blue dog").click();
  await page.getByRole("menuitem", { name: "It is fine" }).click();
  await badge(page, "a blue dog: fine").waitFor();
  await page.reload();
  await page.getByRole("region", { name: "Pictures" }).getByRole("listitem").first().getByRole("button").click();
  await badge(page, "a blue dog: fine").click();
  await page.getByRole("menuitem", { name: "It is not fine" }).click();
  await badge(page, "a blue dog: fine").waitFor({ state: "detached" });
  expectNoComplaints(complaints);
  await page.context().close();
});

it("tries are painted until one is right, and can be looked through", async () => {
  const { page, complaints } = await openPage(browser, program.url);
  await plan(page);
  await setSteps(page, 2);
  await page.getByLabel("Tries").fill("2");
  await page.getByLabel("Repair").check();
  await paint(page);
  await pictureIsFinished(page);
  const tries = page.getByRole("region", { name: "Tries" });
  await tries.getByRole("listitem").first().waitFor();
  const [listed] = await jobs();
  const job = (await read(`/${listed?.id}`)) as Job; // lists leave tries out
  expect(await tries.getByRole("listitem").count()).toBe(job.attempts?.length);
  expect(job.attempts?.filter(({ operations }) => operations.length === 0).length).toBeGreaterThanOrEqual(1);
  const first = tries.getByRole("button").first();
  await first.click();
  expect(await first.getAttribute("aria-pressed")).toBe("true");
  await keepScreenshot(page, "tries");
  await first.click();
  expect(await first.getAttribute("aria-pressed")).toBe("false");
  expectNoComplaints(complaints);
  await page.context().close();
});
