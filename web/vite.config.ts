// The bundle that is embedded in the program: the same sources give the same bytes, so that CI can tell a stale one.
import { readFileSync } from "node:fs";
import { type Plugin, defineConfig } from "vite";

/** The licences of what is bundled ask to travel with it. */
const notices: Plugin = {
  name: "third-party-notices",
  apply: "build",
  generateBundle() {
    this.emitFile({ type: "asset", fileName: "third-party.txt", source: readFileSync(new URL("THIRD_PARTY.md", import.meta.url)) });
  },
};

export default defineConfig({
  // Relative addresses: the page works under a path of a reverse proxy, too.
  base: "./",
  plugins: [notices],
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  build: {
    target: "es2022",
    // The polyfill is for browsers older than the target.
    modulePreload: false,
    // A data: address in a stylesheet would need a wider content security policy.
    assetsInlineLimit: 0,
    reportCompressedSize: false,
  },
  server: {
    proxy: Object.fromEntries(["/api", "/healthz"].map((path) => [path, "http://127.0.0.1:7878"])),
  },
});
