import { readFileSync } from "node:fs";
import { expect, it } from "vitest";

const read = (name: string): string => readFileSync(new URL(`../../${name}`, import.meta.url), "utf8");

it("everything that is bundled is named with its version and licence", () => {
  const { packages } = JSON.parse(read("package-lock.json")) as { packages: Record<string, { version: string; license?: string; dev?: boolean }> };
  const notices = read("THIRD_PARTY.md");
  const bundled = Object.entries(packages).filter(([path, { dev }]) => path !== "" && !dev);
  expect(bundled.length).toBeGreaterThan(0);
  for (const [path, { version, license }] of bundled) {
    expect(notices).toContain(`| \`${path.replace("node_modules/", "")}\` | ${version} | ${license} |`);
  }
});
