// The browser, and the page as a person uses it: by what is written on it.
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { type Browser, type BrowserContextOptions, type Download, type Locator, type Page, chromium } from "playwright-core";
import { expect } from "vitest";

export const CAPTION = "a blue dog and a yellow umbrella on a beach";
/** Steps that the miniature paints recognisable things with. */
export const STEPS = 20;
export const PAINT_MS = 180_000;

export async function launch(): Promise<Browser> {
  return chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox"] });
}

/** What the page or the browser complained of; a test that causes a complaint takes it out. */
export interface Complaints { all: string[] }

export async function openPage(browser: Browser, url: string, more: BrowserContextOptions = {}): Promise<{ page: Page; complaints: Complaints }> {
  const context = await browser.newContext({ viewport: { width: 1400, height: 900 }, acceptDownloads: true, ...more });
  const page = await context.newPage();
  const complaints: Complaints = { all: [] };
  page.on("pageerror", (error) => complaints.all.push(String(error)));
  page.on("console", (message) => { if (message.type() === "error") complaints.all.push(message.text()); });
  await page.goto(url);
  await page.getByRole("button", { name: "Paint", exact: true }).and(page.locator(":enabled")).waitFor();
  return { page, complaints };
}

export const boxes = (page: Page): Locator => page.getByRole("group", { name: "Layout", exact: true }).locator("[aria-roledescription=box]");
export const boxNamed = (page: Page, name: string): Locator => boxes(page).filter({ hasText: name }).first();

/** A box's left, top, width and height as the page says them. */
export async function numbersOf(box: Locator): Promise<[number, number, number, number]> {
  const label = (await box.getAttribute("aria-label")) ?? "";
  const found = /left (\d+), top (\d+), (\d+) wide, (\d+) high/.exec(label);
  if (!found) throw new Error(`no numbers in ${label}`);
  return [Number(found[1]), Number(found[2]), Number(found[3]), Number(found[4])];
}

export async function plan(page: Page, caption = CAPTION): Promise<void> {
  await page.getByLabel("Caption: what the picture shows").fill(caption);
  await page.getByRole("button", { name: /^Plan/ }).click();
  await boxes(page).first().waitFor();
}

export async function setSteps(page: Page, steps: number): Promise<void> {
  const field = page.getByLabel("Steps", { exact: true });
  await field.fill(String(steps));
  await field.blur();
}

export async function paint(page: Page): Promise<void> {
  await page.getByRole("button", { name: "Paint", exact: true }).click();
}

/** Plans and paints; the painting is under way, and takes as long as its steps. */
export async function startPainting(page: Page, steps: number): Promise<void> {
  await plan(page);
  await setSteps(page, steps);
  await paint(page);
  await page.getByText(/, \d+ %$/).first().waitFor();
}

export async function pictureIsFinished(page: Page): Promise<void> {
  await page.getByRole("button", { name: "Download" }).waitFor({ timeout: PAINT_MS });
}

/** Drags from the middle of an element by screen pixels, as a hand does: in steps. */
export async function drag(page: Page, from: Locator, dx: number, dy: number): Promise<void> {
  const bounds = await from.boundingBox();
  if (!bounds) throw new Error("nothing to drag");
  const [x, y] = [bounds.x + bounds.width / 2, bounds.y + bounds.height / 2];
  await page.mouse.move(x, y);
  await page.mouse.down();
  await page.mouse.move(x + dx / 2, y + dy / 2, { steps: 4 });
  await page.mouse.move(x + dx, y + dy, { steps: 4 });
  await page.mouse.up();
}

/** Drops a file on the page. */
export async function drop(page: Page, name: string, type: string, bytes: Buffer): Promise<void> {
  const data = await page.evaluateHandle(
    ([file, mime, base64]) => {
      const transfer = new DataTransfer();
      transfer.items.add(new File([Uint8Array.from(atob(base64 ?? ""), (letter) => letter.charCodeAt(0))], file ?? "", { type: mime ?? "" }));
      return transfer;
    },
    [name, type, bytes.toString("base64")] as const,
  );
  await page.dispatchEvent("body", "drop", { dataTransfer: data });
}

export async function bytesOf(download: Download): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of await download.createReadStream()) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

/** Keeps a picture of the page in the folder that SCREENSHOTS names. */
export async function keepScreenshot(page: Page, name: string): Promise<void> {
  const folder = process.env.SCREENSHOTS;
  if (!folder) return;
  mkdirSync(folder, { recursive: true });
  await page.screenshot({ path: join(folder, `${name}.png`), fullPage: true });
}

export function expectNoComplaints(complaints: Complaints, ...allowed: RegExp[]): void {
  expect(complaints.all.filter((text) => !allowed.some((pattern) => pattern.test(text)))).toEqual([]);
}
