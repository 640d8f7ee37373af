// Writes src/openapi.ts: the types of the server's document, openapi.json, which a test of sinopia-server keeps current.
// The generator needs TypeScript 5, the page is checked by a newer one: so it is no dependency of the page, and is fetched when it is run.
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";

const GENERATOR = ["--package=openapi-typescript@7.13.0", "--package=typescript@5.9.3"];
const options = { cwd: new URL(".", import.meta.url), encoding: "utf8", stdio: ["ignore", "pipe", "inherit"] };
const types = execFileSync("npm", ["exec", "--yes", ...GENERATOR, "--", "openapi-typescript", "openapi.json", "--array-length"], options);
// tests/unit/openapi.test.ts compares the sum, so that stale types are seen without the generator.
const sum = createHash("sha256").update(readFileSync(new URL("openapi.json", import.meta.url))).digest("hex");
writeFileSync(new URL("src/openapi.ts", import.meta.url), `// Of openapi.json with the SHA-256 ${sum}\n${types}`);
