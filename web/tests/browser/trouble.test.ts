// What can go wrong, as the person at the page sees it.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { crc32, deflateSync } from "node:zlib";
import type { Browser } from "playwright-core";
import { afterAll, afterEach, beforeAll, expect, it } from "vitest";
import { boxNamed, boxes, drop, expectNoComplaints, keepScreenshot, launch, numbersOf, openPage, paint, pictureIsFinished, plan, setSteps, startPainting } from "./page";
import { Program } from "./program";

let browser: Browser;
let program: Program | null = null;

beforeAll(async () => { browser = await launch(); });
afterAll(async () => { await browser?.close(); });
afterEach(async () => {
  await program?.stop();
  program = null;
});

/** The browser writes refused and broken requests to its console by itself. */
const REQUESTS = [/Failed to load resource/, /net::ERR_/];

it("a painting is cancelled", async () => {
  program = await Program.start();
  const { page, complaints } = await openPage(browser, program.url);
  await startPainting(page, 200);
  await page.getByRole("button", { name: "Cancel" }).click();
  await page.getByText("Cancelled.", { exact: true }).waitFor();
  expect(await page.getByRole("progressbar").count()).toBe(0);
  expectNoComplaints(complaints);
  await page.context().close();
});

it("a painting is seen in every view, and cancelled from any", async () => {
  program = await Program.start();
  const { page, complaints } = await openPage(browser, program.url);
  await startPainting(page, 200);
  for (const view of ["Layout", "Compare", "Layout"]) {
    await page.getByRole("tab", { name: view }).click();
    await page.getByRole("progressbar", { name: "Painting" }).waitFor();
    expect(await page.getByRole("button", { name: "Cancel", exact: true }).count()).toBe(1);
  }
  await keepScreenshot(page, "painting-seen-from-layout");
  await page.getByRole("button", { name: "Cancel", exact: true }).click();
  await expect.poll(() => page.getByRole("button", { name: "Cancel", exact: true }).count()).toBe(0);
  expect(await page.getByRole("progressbar").count()).toBe(0);
  expectNoComplaints(complaints);
  await page.context().close();
});

it("pictures of other kinds and of other programs are told for what they are", async () => {
  program = await Program.start();
  const { page, complaints } = await openPage(browser, program.url);
  await drop(page, "holiday.png", "image/png", Buffer.from("\xff\xd8\xff\xe0\0\x10JFIF\0", "latin1"));
  await page.getByText("Cannot open holiday.png: it is a JPEG picture.").waitFor();
  const parameters = "a red (fox:1.3), <lora:paint:0.8>\nNegative prompt: people\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 9007199254740993, Size: 512x512, Model: dreamy";
  await drop(page, "fox.png", "image/png", pngWithText("parameters", parameters));
  await page.getByText(/^fox.png was made by Stable Diffusion web UI/).waitFor();
  expect(await page.getByLabel("Caption: what the picture shows").inputValue()).toContain("fox");
  expect(await page.getByLabel("Seed", { exact: true }).inputValue()).toBe("9007199254740993");
  await keepScreenshot(page, "picture-of-another-program");
  const bomb = pngWithText("sinopia", " ".repeat(8 * 1024 * 1024));
  await drop(page, "bomb.png", "image/png", bomb);
  await page.getByText(/^Cannot open bomb.png: /).waitFor();
  expectNoComplaints(complaints, ...REQUESTS);
  await page.context().close();
});

it("the server is killed while it paints and the page is open: edits are kept, and the picture is finished when it is back", async () => {
  program = await Program.start();
  const { page, complaints } = await openPage(browser, program.url);
  await startPainting(page, 30);
  await program.kill();
  const banner = page.getByText("The server does not answer.");
  await banner.waitFor();
  await keepScreenshot(page, "server-gone");

  await page.getByRole("tab", { name: "Layout" }).click();
  const dog = boxNamed(page, "a blue dog");
  await dog.focus();
  await page.keyboard.press("ArrowUp");
  const before = await numbersOf(dog);

  await program.run();
  await banner.waitFor({ state: "detached" });
  expect(await numbersOf(dog)).toEqual(before);
  await page.getByRole("tab", { name: "Picture" }).click();
  await pictureIsFinished(page);
  expectNoComplaints(complaints, ...REQUESTS);
  await page.context().close();
});

it("a full queue says so, and when to try again", async () => {
  program = await Program.start("--max-queued", "1");
  const { page, complaints } = await openPage(browser, program.url);
  await plan(page);
  await setSteps(page, 200);
  // One is painted, one waits, and no more fit.
  const notice = page.getByRole("alert").filter({ hasText: /queue/i });
  for (let press = 0; press < 4 && (await notice.count()) === 0; press++) {
    await paint(page);
    await page.waitForTimeout(500);
  }
  await notice.waitFor();
  await notice.getByRole("button", { name: /^Paint again/ }).waitFor();
  await keepScreenshot(page, "queue-full");
  expectNoComplaints(complaints, ...REQUESTS);
  await page.context().close();
});

it("a language model that is down is named, and boxes can be drawn without it", async () => {
  // A port that nobody listens on.
  const port = await new Promise<number>((resolve) => {
    const server = createServer().listen(0, "127.0.0.1", () => {
      const address = server.address();
      server.close(() => resolve(typeof address === "object" && address ? address.port : 1));
    });
  });
  program = await Program.start("--llm-base-url", `http://127.0.0.1:${port}/v1`, "--llm-model", "nobody");
  const { page, complaints } = await openPage(browser, program.url);
  await page.getByRole("button", { name: "Plan", exact: true }).click();
  const notice = page.getByRole("alert").filter({ hasText: "Not planned" });
  await notice.waitFor({ timeout: 120_000 });
  await notice.getByRole("button", { name: "Try again" }).waitFor();
  await keepScreenshot(page, "llm-down");
  await notice.getByRole("button", { name: "Put away" }).click();
  await page.getByRole("button", { name: "New box (N)" }).click();
  await page.keyboard.type("a blue dog");
  await page.keyboard.press("Enter");
  expect(await boxes(page).count()).toBe(1);
  expectNoComplaints(complaints, ...REQUESTS);
  await page.context().close();
});

it("bad files are refused by name and change nothing", async () => {
  program = await Program.start();
  const { page, complaints } = await openPage(browser, program.url);
  await plan(page);
  const before = await boxes(page).count();
  const onePixel = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
  const files = [
    ["not-ours.png", "image/png", Buffer.from(onePixel, "base64")],
    ["torn.png", "image/png", Buffer.from(onePixel, "base64").subarray(0, 30)],
    ["noise.json", "application/json", Buffer.from("{ this is no layout")],
    ["empty.txt", "text/plain", Buffer.alloc(0)],
    ["broken.sinopia.json", "application/json", Buffer.from('{"format":"sinopia-scene","version":1}')],
  ] as const;
  for (const [name, type, bytes] of files) {
    await drop(page, name, type, bytes);
    const notice = page.getByRole("alert").filter({ hasText: `Cannot open ${name}` });
    await notice.waitFor();
    if (name === "not-ours.png") await keepScreenshot(page, "bad-file");
    await notice.getByRole("button", { name: "Put away" }).click();
  }
  expect(await boxes(page).count()).toBe(before);
  expectNoComplaints(complaints, ...REQUESTS);
  await page.context().close();
});

it("a server with a token asks for it, once, and refuses a wrong one", async () => {
  const secret = "open-sesame-open-sesame";
  const folder = mkdtempSync(join(tmpdir(), "sinopia-token-"));
  writeFileSync(join(folder, "token"), secret);
  program = await Program.start("--token-file", join(folder, "token"));
  const context = await browser.newContext();
  const page = await context.newPage();
  await page.goto(program.url);
  const dialog = page.getByRole("dialog", { name: /asks for its token/ });
  await dialog.getByLabel("Token", { exact: true }).fill("wrong");
  await dialog.getByRole("button", { name: "Continue" }).click();
  await dialog.getByText("does not take that token").waitFor();
  await dialog.getByLabel("Token", { exact: true }).fill(secret);
  await dialog.getByRole("button", { name: "Continue" }).click();
  await dialog.waitFor({ state: "detached" });
  await plan(page);
  await setSteps(page, 3);
  await paint(page);
  await pictureIsFinished(page);
  // The picture itself needs the token, too.
  await expect.poll(() => page.locator(".picture img").evaluate((image: HTMLImageElement) => image.naturalWidth)).toBeGreaterThan(1);
  await context.close();
  rmSync(folder, { recursive: true });
});

/** A black pixel as PNG with one compressed text chunk. */
function pngWithText(keyword: string, text: string): Buffer {
  const chunk = (type: string, data: Buffer): Buffer => {
    const body = Buffer.concat([Buffer.from(type, "latin1"), data]);
    const [length, sum] = [Buffer.alloc(4), Buffer.alloc(4)];
    length.writeUInt32BE(data.length);
    sum.writeUInt32BE(crc32(body));
    return Buffer.concat([length, body, sum]);
  };
  const header = Buffer.from([0, 0, 0, 1, 0, 0, 0, 1, 8, 0, 0, 0, 0]); // 1 × 1, 8 bits of gray
  const words = Buffer.concat([Buffer.from(`${keyword}\0\x01\0\0\0`, "latin1"), deflateSync(text)]);
  const signature = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);
  return Buffer.concat([signature, chunk("IHDR", header), chunk("iTXt", words), chunk("IDAT", deflateSync(Buffer.from([0, 0]))), chunk("IEND", Buffer.alloc(0))]);
}
