// The server's calls and the shapes of what they carry: the only file that knows addresses.

import type { components } from "./openapi";

type Schemas = components["schemas"];
/** What the server answers. Its fields are all there: null where requests may leave one out. */
type Answer<T> = T extends readonly unknown[] | object ? { [K in keyof T]-?: Answer<Exclude<T[K], undefined>> } : T;
/** `T` with some fields as the document cannot say them. */
type With<T, Fields> = Omit<T, keyof Fields> & Fields;

/** In pixels. */
export type Canvas = Schemas["Size"];
export type LayoutObject = Schemas["LayoutObject"];
/** Left, top, width, height in canvas pixels. */
export type BBox = LayoutObject["bbox"];
export type Layout = Answer<Schemas["Layout"]>;

export type Finding = Schemas["Finding"];
export type Candidate = Answer<Schemas["Candidate"]>;
export type Plan = Answer<Schemas["PlanReply"]>;
export type Repaired = Answer<Schemas["Repaired"]>;
export type Composed = Answer<Schemas["Composed"]>;

export type OptionValue = string | number | boolean | null | OptionValue[] | { [name: string]: OptionValue };
/** What is left out where there is nothing to say. */
type Perhaps = "choices" | "choices_help" | "unit" | "range";
/** An option of a method: what the field for it is made from. */
export type MethodOption = With<Answer<Omit<Schemas["OptionDoc"], Perhaps | "published">>, { default: OptionValue }> &
  Pick<Schemas["OptionDoc"], Perhaps> & { published?: OptionValue };
export type Method = With<Answer<Schemas["MethodDoc"]>, { options: MethodOption[] }>;
/** Seeds that JavaScript would round are text, too; servers of before that have none. */
type ExactSeed = { seed: number; seed_text?: string };
export type Options = With<Answer<Schemas["Options"]>, { methods: Method[]; settings: MethodOption[]; defaults: With<Answer<Schemas["Defaults"]>, ExactSeed> }>;

export type JobState = Schemas["JobState"];
export type Progress = Answer<Schemas["Progress"]>;
export type Verdict = Answer<Schemas["Verdict"]>;
export type ObjectVerdict = Answer<Schemas["ObjectVerdict"]>;
export type Decision = Answer<Schemas["Decision"]>;
/** A change of a finished picture; boxes are left, top, right, bottom in shares of it. */
export type Operation = Schemas["Operation"];
type Told = ExactSeed & { options: Record<string, OptionValue> };
export type Attempt = With<Answer<Omit<Schemas["Attempt"], "operations">>, ExactSeed & { operations: Operation[] }>;
export type PictureEdit = { job: string; operations: Operation[] };
/** Servers of before that have neither attempts nor decisions nor edits. */
type Checked = { attempts?: Attempt[]; decisions?: Decision[]; edit?: PictureEdit | null; init?: unknown };
export type Job = With<Answer<Schemas["Job"]>, Told & Checked>;
/** What is null is left out of a request. */
type Said<T> = { [K in keyof T]?: Exclude<T[K], null | undefined> };
export type JobRequest = With<Said<Schemas["JobRequest"]>, { caption: string; options?: Record<string, OptionValue> }>;
/** How a picture was made, as it says itself, in the words of a job. */
export type Recipe = With<Pick<Job, keyof Schemas["RecipeReply"]>, { caption: string | null }>;
/** What a picture of another program says of itself. */
export type ForeignPicture = Answer<Schemas["ForeignPicture"]>;

/** A call that was answered with an error, or not at all (`status` 0). */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
    readonly hint: string | null = null,
    readonly retryAfterSecs: number | null = null,
  ) {
    super(message);
  }
}

const TOKEN_KEY = "sinopia.token";
/** The server's token, for this tab alone. */
export const token = {
  get: (): string | null => sessionStorage.getItem(TOKEN_KEY),
  set: (value: string): void => sessionStorage.setItem(TOKEN_KEY, value),
};

/** Sends a request with the token; throws {@link ApiError} unless the answer is a success. */
export async function send(path: string, init: RequestInit = {}): Promise<Response> {
  const headers = new Headers(init.headers);
  const secret = token.get();
  if (secret) headers.set("Authorization", `Bearer ${secret}`);
  let response: Response;
  try {
    response = await fetch(path, { ...init, headers });
  } catch (error) {
    if (init.signal?.aborted) throw error;
    throw new ApiError(0, "unreachable", "The server does not answer.");
  }
  if (!response.ok) throw await failure(response);
  return response;
}

async function failure(response: Response): Promise<ApiError> {
  const retryAfter = Number.parseInt(response.headers.get("Retry-After") ?? "", 10);
  // A proxy's error is a page of its own: only its status is told.
  const body = (await response.json().catch(() => null)) as { error?: { message?: string; hint?: string | null; code?: string } } | null;
  const message = body?.error?.message ?? `The server answered ${response.status} ${response.statusText}`.trim();
  return new ApiError(response.status, body?.error?.code ?? "error", message, body?.error?.hint ?? null, Number.isNaN(retryAfter) ? null : retryAfter);
}

async function get<T>(path: string): Promise<T> {
  return (await send(path)).json() as Promise<T>;
}

async function post<T>(path: string, body: unknown, signal?: AbortSignal): Promise<T> {
  const init: RequestInit = { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  return (await send(path, signal ? { ...init, signal } : init)).json() as Promise<T>;
}

const jobPath = (id: string): string => `api/jobs/${encodeURIComponent(id)}`;

export const api = {
  health: (): Promise<Response> => send("healthz", { cache: "no-store" }),
  options: (): Promise<Options> => get("api/options"),
  plan: (body: { caption: string; canvas?: Canvas; candidates?: number }, signal: AbortSignal): Promise<Plan> => post("api/plan", body, signal),
  edit: (body: { caption?: string; layout: Layout; instruction: string }, signal: AbortSignal): Promise<Plan> => post("api/plan/edit", body, signal),
  check: (body: { caption?: string; layout: Layout }): Promise<{ findings: Finding[] }> => post("api/check", body),
  repair: (body: { caption?: string; layout: Layout }): Promise<Repaired> => post("api/repair", body),
  compose: (body: { caption?: string; layout: Layout }): Promise<Composed> => post("api/compose", body),
  async convert(body: Blob | string, to: string): Promise<string> {
    return (await send(`api/layouts/convert?to=${encodeURIComponent(to)}`, { method: "POST", body })).text();
  },
  async recipe(png: Blob): Promise<Recipe | { foreign: ForeignPicture }> {
    const init = { method: "POST", headers: { "Content-Type": "image/png" }, body: png };
    return (await send("api/recipe", init)).json() as Promise<Recipe | { foreign: ForeignPicture }>;
  },
  paint: (body: JobRequest): Promise<Job> => post("api/jobs", body),
  jobs(search: string, limit: number, before: string | null): Promise<{ jobs: Job[]; next: string | null }> {
    const query = new URLSearchParams({ limit: String(limit) });
    if (search) query.set("q", search);
    if (before) query.set("before", before);
    return get(`api/jobs?${query}`);
  },
  job: (id: string): Promise<Job> => get(jobPath(id)),
  cancel: (id: string): Promise<Job> => post(`${jobPath(id)}/cancel`, {}),
  remove: (id: string): Promise<Response> => send(jobPath(id), { method: "DELETE" }),
  evaluate: (id: string): Promise<Verdict> => post("api/evaluate", { job: id }),
  change: (body: { edit: PictureEdit; seed: string; judge: boolean }): Promise<Job> => post("api/jobs", body),
  decide: (id: string, decision: Decision): Promise<Job> => post(`${jobPath(id)}/decisions`, decision),
  events: (id: string, signal: AbortSignal): Promise<Response> => send(`${jobPath(id)}/events`, { signal, headers: { Accept: "text/event-stream" } }),
  imagePath: (id: string): string => `${jobPath(id)}/image.png`,
  attemptPath: (id: string, number: number): string => `${jobPath(id)}/attempts/${number}.png`,
};
