// What everyone should be able to see and reach: axe's rules, a phone's width, light and dark, pages without a mouse.
import AxeBuilder from "@axe-core/playwright";
import type { Browser, BrowserContextOptions, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { boxNamed, boxes, keepScreenshot, launch, numbersOf, openPage, paint, pictureIsFinished, plan, setSteps } from "./page";
import { Program } from "./program";

let program: Program;
let browser: Browser;

beforeAll(async () => {
  [program, browser] = await Promise.all([Program.start(), launch()]);
  // Two pictures, for the views that show some.
  const { page } = await openPage(browser, program.url);
  await plan(page);
  await setSteps(page, 10);
  for (const seed of ["1", "2"]) {
    await page.getByLabel("Seed", { exact: true }).fill(seed);
    await paint(page);
    await pictureIsFinished(page);
  }
  await page.context().close();
}, 300_000);
afterAll(async () => { await browser?.close(); await program?.stop(); });

async function expectAccessible(page: Page): Promise<void> {
  const { violations, passes } = await new AxeBuilder({ page }).analyze();
  expect(passes.length).toBeGreaterThan(20); // it did look
  const serious = violations.filter(({ impact }) => impact === "serious" || impact === "critical");
  expect(serious.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html.slice(0, 160)).join(" | ")}`)).toEqual([]);
}

async function expectNoSidewaysScroll(page: Page): Promise<void> {
  const { scrollWidth, clientWidth } = await page.evaluate(() => ({ scrollWidth: document.documentElement.scrollWidth, clientWidth: document.documentElement.clientWidth }));
  expect(scrollWidth).toBeLessThanOrEqual(clientWidth);
}

const WAYS: readonly (readonly [string, BrowserContextOptions])[] = [
  ["desktop-light", { colorScheme: "light" }],
  ["desktop-dark", { colorScheme: "dark" }],
  ["tablet", { viewport: { width: 900, height: 1100 } }],
  ["phone", { viewport: { width: 360, height: 740 }, hasTouch: true, isMobile: true, colorScheme: "light" }],
  ["phone-dark", { viewport: { width: 360, height: 740 }, hasTouch: true, isMobile: true, colorScheme: "dark" }],
];

describe.each(WAYS)("%s", (name, options) => {
  it("every view is accessible and fits", async () => {
    const { page } = await openPage(browser, program.url, options);
    const look = async (view: string): Promise<void> => {
      await expectAccessible(page);
      await expectNoSidewaysScroll(page);
      await keepScreenshot(page, `${name}-${view}`);
    };
    await look("empty");
    await page.getByLabel("Layouts to choose from").selectOption("3");
    await plan(page);
    await boxNamed(page, "a blue dog").focus();
    await page.locator("summary").filter({ hasText: "All options" }).click();
    await look("layout");
    await page.getByRole("region", { name: "Pictures" }).getByRole("listitem").first().getByRole("button").click();
    await page.getByText(/objects? (is|are) (not )?where/).first().waitFor();
    // The page came to the picture.
    await expect.poll(async () => (await page.getByRole("tab", { name: "Picture" }).boundingBox())?.y).toBeGreaterThanOrEqual(0);
    await look("picture");
    await page.getByRole("tab", { name: "Compare" }).click();
    await look("compare");
    await page.getByRole("button", { name: "Keys and help" }).click();
    await look("help");
    await page.context().close();
  });
});

it("a finger moves a box, draws one when told to, and scrolls the page everywhere else", async () => {
  const { page } = await openPage(browser, program.url, { viewport: { width: 360, height: 740 }, hasTouch: true, isMobile: true });
  await plan(page);
  const cdp = await page.context().newCDPSession(page);
  const swipe = async (from: { x: number; y: number }, dx: number, dy: number): Promise<void> => {
    await cdp.send("Input.dispatchTouchEvent", { type: "touchStart", touchPoints: [from] });
    for (let step = 1; step <= 5; step++) await cdp.send("Input.dispatchTouchEvent", { type: "touchMove", touchPoints: [{ x: from.x + (dx * step) / 5, y: from.y + (dy * step) / 5 }] });
    await cdp.send("Input.dispatchTouchEvent", { type: "touchEnd", touchPoints: [] });
  };
  const paper = page.getByRole("group", { name: "Layout", exact: true });
  const corner = async (): Promise<{ x: number; y: number }> => {
    const bounds = await paper.boundingBox();
    return { x: (bounds?.x ?? 0) + 12, y: (bounds?.y ?? 0) + 12 }; // where no box is
  };

  const dog = boxNamed(page, "a blue dog");
  const before = await numbersOf(dog);
  const bounds = await dog.boundingBox();
  if (!bounds) throw new Error("no box");
  await swipe({ x: bounds.x + bounds.width / 2, y: bounds.y + bounds.height / 2 }, 0, -60);
  const after = await numbersOf(dog);
  expect(after[1]).toBeLessThan(before[1]);
  expect(after.slice(2)).toEqual(before.slice(2));

  const count = await boxes(page).count();
  await swipe(await corner(), 60, 60);
  expect(await boxes(page).count()).toBe(count);
  await page.getByRole("button", { name: "Draw with a finger" }).click();
  await swipe(await corner(), 60, 60);
  expect(await boxes(page).count()).toBe(count + 1);
  await page.context().close();
});

it("its outline is painted while the script is still on its way", async () => {
  const context = await browser.newContext({ viewport: { width: 360, height: 740 } });
  const page = await context.newPage();
  let letGo = (): void => undefined;
  const held = new Promise<void>((resolve) => { letGo = resolve; });
  await page.route("**/assets/*.js", async (route) => { await held; await route.continue(); });
  await page.goto(program.url, { waitUntil: "commit" });
  await page.waitForFunction(() => performance.getEntriesByName("first-contentful-paint").length === 1);
  expect(await page.getByRole("heading", { name: "Sinopia" }).isVisible()).toBe(true);
  expect(await page.getByRole("button").count()).toBe(0);
  await expectNoSidewaysScroll(page);
  await keepScreenshot(page, "outline");
  letGo();
  await page.getByRole("button", { name: "Paint", exact: true }).waitFor();
  expect(await page.locator(".waiting").count()).toBe(0);
  await context.close();
});

it("the page is one script and one stylesheet of its own, and nothing from elsewhere", async () => {
  const { page } = await openPage(browser, program.url);
  const { origins, count } = await page.evaluate(() => {
    const files = performance.getEntriesByType("resource").map((entry) => new URL(entry.name)).filter((url) => url.pathname.startsWith("/assets/"));
    return { origins: [...new Set(performance.getEntriesByType("resource").map((entry) => new URL(entry.name).origin))], count: files.length };
  });
  expect(origins).toEqual([new URL(program.url).origin]);
  expect(count).toBe(2);
  await page.context().close();
});
