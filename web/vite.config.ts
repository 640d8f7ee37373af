// The bundle that is embedded in the program: the same sources give the same bytes, so that CI can tell a stale one.
import { defineConfig } from "vite";

export default defineConfig({
  // Relative addresses: the page works under a path of a reverse proxy, too.
  base: "./",
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  build: {
    target: "es2022",
    // The polyfill is an inline script to older browsers, which the content security policy forbids.
    modulePreload: false,
    // A data: address in a stylesheet would need a wider policy.
    assetsInlineLimit: 0,
    reportCompressedSize: false,
  },
  server: {
    proxy: Object.fromEntries(["/api", "/healthz"].map((path) => [path, "http://127.0.0.1:7878"])),
  },
});
