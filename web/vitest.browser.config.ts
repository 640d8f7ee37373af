// Tests of the page in Chromium against the program itself, one after the other: paintings share the processor.
import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["tests/browser/**/*.test.ts"],
    fileParallelism: false,
    // Paintings of the miniature take seconds, on a busy machine many.
    testTimeout: 240_000,
    hookTimeout: 120_000,
  },
});
