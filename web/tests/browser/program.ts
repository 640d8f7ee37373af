// The program under test: `sinopia serve` with a folder and a port of its own.
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

const START_MS = 60_000;

function programPath(): string {
  const path = process.env.SINOPIA;
  if (!path) throw new Error("SINOPIA has to name the program, such as SINOPIA=../target/release/sinopia");
  return resolve(path); // it is run in a folder of its own
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (address === null || typeof address === "string") throw new Error("no port");
  return address.port;
}

export class Program {
  private process: ChildProcess | null = null;
  private log = "";
  private constructor(readonly port: number, private readonly folder: string, private readonly args: readonly string[]) {}

  /** Starts the program; `args` come after its own. */
  static async start(...args: string[]): Promise<Program> {
    const program = new Program(await freePort(), mkdtempSync(join(tmpdir(), "sinopia-web-")), args);
    await program.run();
    return program;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}/`;
  }

  /** Runs it again, on the same folder and port. */
  async run(): Promise<void> {
    const own = ["serve", "--listen", `127.0.0.1:${this.port}`, "--data", join(this.folder, "data")];
    // No settings of the machine's: neither sinopia.toml nor a cache of plans.
    const env = { PATH: process.env.PATH, HOME: this.folder, XDG_CACHE_HOME: join(this.folder, "cache"), XDG_DATA_HOME: join(this.folder, "share") };
    const child = spawn(programPath(), [...own, ...this.args], { cwd: this.folder, env, stdio: ["ignore", "pipe", "pipe"] });
    for (const stream of [child.stdout, child.stderr]) stream.on("data", (text: Buffer) => { this.log += text.toString(); });
    this.process = child;
    const end = Date.now() + START_MS;
    while (!(await fetch(`${this.url}healthz`).then((response) => response.ok, () => false))) {
      if (child.exitCode !== null || Date.now() > end) throw new Error(`the program does not answer:\n${this.log}`);
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }

  /** As a power cut would. */
  async kill(): Promise<void> {
    const child = this.process;
    this.process = null;
    if (!child || child.exitCode !== null) return;
    const ended = new Promise((resolve) => child.once("exit", resolve));
    child.kill("SIGKILL");
    await ended;
  }

  async stop(): Promise<void> {
    await this.kill();
    rmSync(this.folder, { recursive: true, force: true });
  }
}
