// The editor by mouse and keyboard, and layouts in and out.
import type { Browser, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { type Complaints, boxNamed, boxes, bytesOf, drag, drop, expectNoComplaints, launch, numbersOf, openPage, plan } from "./page";
import { Program } from "./program";

let program: Program;
let browser: Browser;
let page: Page;
let complaints: Complaints;

beforeAll(async () => { [program, browser] = await Promise.all([Program.start(), launch()]); });
afterAll(async () => { await browser?.close(); await program?.stop(); });
beforeEach(async () => {
  ({ page, complaints } = await openPage(browser, program.url));
  await plan(page);
});
afterEach(async () => {
  await page.context().close();
  expectNoComplaints(complaints);
});

const names = (): Promise<string[]> => boxes(page).locator(".box-words").allInnerTexts();
const LAYOUT = { canvas: { width: 512, height: 512 }, objects: [{ phrase: "a red cup", bbox: [64, 96, 128, 160] }, { phrase: "a green ball", bbox: [300, 300, 100, 100] }], background: "A room", negative: "people" };
const dropLayout = (): Promise<void> => drop(page, "scene.json", "application/json", Buffer.from(JSON.stringify(LAYOUT)));

describe("a plan", () => {
  it("has the caption's things as boxes", async () => {
    expect((await names()).sort()).toEqual(["a blue dog", "a yellow umbrella"]);
  });

  it("can be chosen from several", async () => {
    await page.getByLabel("Layouts to choose from").selectOption("3");
    await page.getByRole("button", { name: "Plan again" }).click();
    const group = page.getByRole("group", { name: "Layouts to choose from" });
    await group.waitFor();
    const second = group.getByRole("button", { name: /^Layout 2/ });
    await second.click();
    expect(await second.getAttribute("aria-pressed")).toBe("true");
  });
});

describe("by mouse", () => {
  beforeEach(dropLayout);

  it("a box is moved, snaps to the grid, and undo brings it back", async () => {
    const cup = boxNamed(page, "a red cup");
    await cup.waitFor();
    await drag(page, cup, 47, 33);
    const [x, y, width, height] = await numbersOf(cup);
    expect([width, height]).toEqual([128, 160]);
    expect(x).toBeGreaterThan(64);
    expect(y).toBeGreaterThan(96);
    await page.keyboard.press("Control+z");
    expect(await numbersOf(cup)).toEqual([64, 96, 128, 160]);
    await page.keyboard.press("Control+y");
    expect(await numbersOf(cup)).toEqual([x, y, width, height]);
  });

  it("a box is pulled at each of its eight handles", async () => {
    const cup = boxNamed(page, "a red cup");
    await cup.click();
    expect(await cup.locator(".handle").count()).toBe(8);
    for (const [dx, dy] of [[-1, -1], [0, -1], [1, -1], [1, 0], [1, 1], [0, 1], [-1, 1], [-1, 0]] as const) {
      await drag(page, cup.locator(`.handle[data-x="${dx}"][data-y="${dy}"]`), -20, -20);
      const [x, y, width, height] = await numbersOf(cup);
      expect(x < 64, `left, handle ${dx} ${dy}`).toBe(dx < 0);
      expect(y < 96, `top, handle ${dx} ${dy}`).toBe(dy < 0);
      expect(Math.sign(width - 128), `width, handle ${dx} ${dy}`).toBe(-dx || 0);
      expect(Math.sign(height - 160), `height, handle ${dx} ${dy}`).toBe(-dy || 0);
      await page.keyboard.press("Control+z");
      expect(await numbersOf(cup)).toEqual([64, 96, 128, 160]);
    }
  });

  it("a box is drawn and named", async () => {
    await boxNamed(page, "a red cup").waitFor();
    const paper = page.getByRole("group", { name: "Layout", exact: true });
    const bounds = await paper.boundingBox();
    if (!bounds) throw new Error("no canvas");
    await page.mouse.move(bounds.x + bounds.width * 0.6, bounds.y + bounds.height * 0.1);
    await page.mouse.down();
    await page.mouse.move(bounds.x + bounds.width * 0.9, bounds.y + bounds.height * 0.3, { steps: 5 });
    await page.mouse.up();
    await page.keyboard.type("a blue bird"); // the words have the keyboard at once
    await page.keyboard.press("Enter");
    expect(await names()).toEqual(["a red cup", "a green ball", "a blue bird"]);
    const [x, y, width, height] = await numbersOf(boxNamed(page, "a blue bird"));
    expect([x % 8, y % 8, width % 8, height % 8]).toEqual([0, 0, 0, 0]);
    expect(width).toBeGreaterThan(100);
  });

  it("Escape gives a drag up", async () => {
    const cup = boxNamed(page, "a red cup");
    const bounds = await cup.boundingBox();
    if (!bounds) throw new Error("no box");
    await page.mouse.move(bounds.x + 40, bounds.y + 60);
    await page.mouse.down();
    await page.mouse.move(bounds.x + 120, bounds.y + 120, { steps: 3 });
    expect(await numbersOf(cup)).not.toEqual([64, 96, 128, 160]);
    await page.keyboard.press("Escape");
    await page.mouse.up();
    expect(await numbersOf(cup)).toEqual([64, 96, 128, 160]);
  });
});

describe("by keyboard alone", () => {
  beforeEach(async () => {
    await dropLayout();
    await boxNamed(page, "a red cup").waitFor();
    await boxNamed(page, "a red cup").focus();
  });

  it("boxes are moved, resized and walked through", async () => {
    await page.keyboard.press("ArrowRight");
    await page.keyboard.press("ArrowDown");
    await page.keyboard.press("Shift+ArrowRight");
    await page.keyboard.press("Shift+ArrowUp");
    expect(await numbersOf(boxNamed(page, "a red cup"))).toEqual([72, 104, 136, 152]);
    await page.keyboard.press("Tab");
    await page.keyboard.press("Alt+ArrowLeft");
    expect(await numbersOf(boxNamed(page, "a green ball"))).toEqual([299, 300, 100, 100]);
    await page.keyboard.press("Shift+Tab");
    expect(await boxNamed(page, "a red cup").getAttribute("aria-pressed")).toBe("true");
  });

  it("boxes are duplicated, reordered, locked, named and deleted", async () => {
    await page.keyboard.press("Control+d");
    expect(await names()).toEqual(["a red cup", "a red cup", "a green ball"]);
    await page.keyboard.press("]");
    expect(await names()).toEqual(["a red cup", "a green ball", "a red cup"]);
    await page.keyboard.press("Enter");
    await page.keyboard.type("a white bowl");
    await page.keyboard.press("Enter");
    expect(await names()).toEqual(["a red cup", "a green ball", "a white bowl"]);
    await page.keyboard.press("l");
    await page.keyboard.press("Delete");
    expect(await names()).toHaveLength(3);
    await page.keyboard.press("l");
    await page.keyboard.press("Delete");
    expect(await names()).toEqual(["a red cup", "a green ball"]);
    for (let step = 0; step < 20; step++) await page.keyboard.press("Control+z");
    expect((await names()).sort()).toEqual([]); // back to the empty canvas before the plan
  });
});

it("a box cannot be typed beyond the canvas, and Delete reaches it only where it is seen", async () => {
  await dropLayout();
  const cup = boxNamed(page, "a red cup");
  await cup.focus();
  await page.getByLabel("Left", { exact: true }).fill("9999");
  const [left = 0, , width = 0] = await numbersOf(cup);
  expect(left + width).toBe(512);
  await page.getByRole("tab", { name: "Picture" }).click();
  await page.keyboard.press("Delete");
  await page.getByRole("tab", { name: "Layout" }).click();
  expect(await names()).toHaveLength(2);
});

it("a locked box stays through another plan", async () => {
  const dog = boxNamed(page, "a blue dog");
  await dog.focus();
  for (let step = 0; step < 4; step++) await page.keyboard.press("ArrowUp");
  await page.keyboard.press("l");
  const before = await numbersOf(dog);
  await page.getByRole("button", { name: "Plan again" }).click();
  await page.getByRole("button", { name: "Plan again" }).waitFor();
  await page.getByRole("status").filter({ hasText: "The layout has" }).waitFor({ state: "attached" });
  expect(await numbersOf(dog)).toEqual(before);
});

describe("files", () => {
  it.each(["LLM-grounded Diffusion text", "COCO", "Ideogram caption", "Omost canvas"])("%s is written and read back", async (format) => {
    await dropLayout();
    await boxNamed(page, "a red cup").waitFor();
    await page.getByRole("button", { name: "Save" }).click();
    const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("menuitem", { name: format }).click()]);
    const bytes = await bytesOf(download);
    await page.getByRole("button", { name: "Delete all boxes" }).click();
    expect(await names()).toEqual([]);
    await drop(page, download.suggestedFilename(), "", bytes);
    await boxNamed(page, "a red cup").waitFor();
    expect(await names()).toHaveLength(2);
  });

  it("a scene file brings all back, tags and locks too", async () => {
    await dropLayout();
    await boxNamed(page, "a green ball").focus();
    await page.keyboard.press("l");
    await page.getByRole("radio", { name: "rose" }).check();
    await page.getByLabel("Seed", { exact: true }).fill("77");
    await page.getByRole("button", { name: "Save" }).click();
    const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("menuitem", { name: /^Scene file/ }).click()]);
    const bytes = await bytesOf(download);

    const other = await openPage(browser, program.url);
    await drop(other.page, download.suggestedFilename(), "application/json", bytes);
    const ball = boxNamed(other.page, "a green ball");
    await ball.waitFor();
    expect(await numbersOf(ball)).toEqual([300, 300, 100, 100]);
    expect(await ball.getAttribute("aria-label")).toContain("locked");
    expect(await ball.getAttribute("class")).toContain("tag-rose");
    expect(await other.page.getByLabel("Seed", { exact: true }).inputValue()).toBe("77");
    expect(await other.page.getByLabel("Must not be there").inputValue()).toBe("people");
    expectNoComplaints(other.complaints);
    await other.page.context().close();
  });
});

it("a reload loses nothing", async () => {
  await boxNamed(page, "a blue dog").focus();
  await page.keyboard.press("ArrowUp");
  const before = await numbersOf(boxNamed(page, "a blue dog"));
  await page.waitForTimeout(500); // longer than changes rest before they are kept
  await page.reload();
  await boxNamed(page, "a blue dog").waitFor();
  expect(await numbersOf(boxNamed(page, "a blue dog"))).toEqual(before);
});
