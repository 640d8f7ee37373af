import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { expect, it } from "vitest";

it("the types are those of openapi.json: `npm run types` writes them", () => {
  const file = (path: string): string => readFileSync(new URL(`../../${path}`, import.meta.url), "utf8");
  const sum = createHash("sha256").update(file("openapi.json")).digest("hex");
  expect(file("src/openapi.ts")).toContain(`SHA-256 ${sum}`);
});
