// Whether the server answers: notices when it is gone, waits for it, and catches up when it is back.
import { ApiError, api, token } from "../api";
import { connection, notify } from "../store";

/** Seconds between looks at a server that answers. */
const IDLE_SECS = 10;
/** Seconds before each new try; the last one is repeated. */
const RETRY_SECS = [1, 2, 3, 5];

let waiting: Promise<void> | null = null;
let tryNow: (() => void) | null = null;

/** Brings the page up to date; given by whoever connects. */
let catchUp = (): Promise<void> => Promise.resolve();

/** Brings the page up to date by `refresh`, and again whenever the server was gone; watches the server meanwhile. */
export async function connect(refresh: () => Promise<void>): Promise<void> {
  catchUp = async () => {
    await refresh();
    connection.value = { state: "ok" };
  };
  await catchUp().catch(report);
  for (;;) {
    await pause(IDLE_SECS);
    if (connection.value.state === "ok" && document.visibilityState === "visible") await api.health().catch(report);
  }
}

/** Tells of a failed call: a lost server and a missing token have places of their own, all else is a notice. */
export function report(error: unknown, doing?: string, action: { label: string; run: () => void } | null = null): void {
  if (error instanceof DOMException && error.name === "AbortError") return;
  if (!(error instanceof ApiError)) {
    notify("error", sentence(doing, error instanceof Error ? error.message : String(error)));
  } else if (isAway(error)) {
    void serverIsBack();
  } else if (error.status === 401) {
    connection.value = { state: "locked", refused: token.get() !== null };
  } else {
    notify("error", sentence(doing, error.message), error.hint, action && { ...action, afterSecs: error.retryAfterSecs ?? 0 });
  }
}

const sentence = (doing: string | undefined, message: string): string => (doing ? `${doing}: ${message}` : message);

/** Nothing answers, or only a proxy that says so. */
export const isAway = (error: unknown): boolean => error instanceof ApiError && (error.status === 0 || (error.status >= 502 && error.code === "error"));

/** Resolves once the server answers again, with everything of the page up to date. */
export function serverIsBack(): Promise<void> {
  waiting ??= waitForServer().finally(() => { waiting = null; });
  return waiting;
}

async function waitForServer(): Promise<void> {
  for (let attempt = 0; ; attempt++) {
    const secs = RETRY_SECS[Math.min(attempt, RETRY_SECS.length - 1)] ?? 5;
    for (let left = secs; left > 0; left--) {
      connection.value = { state: "gone", retryInSecs: left };
      if (await Promise.race([pause(1), new Promise<"now">((resolve) => { tryNow = () => resolve("now"); })]) === "now") break;
    }
    try {
      await api.health();
      return await catchUp();
    } catch (error) {
      if (!isAway(error)) {
        connection.value = { state: "ok" };
        return report(error);
      }
    }
  }
}

export const retryNow = (): void => tryNow?.();

/** Tries a token; a wrong one is asked for again. */
export async function unlock(value: string): Promise<void> {
  token.set(value);
  await catchUp().catch(report);
}

const pause = (secs: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, secs * 1000));
