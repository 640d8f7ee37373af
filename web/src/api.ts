// The server's calls and the shapes of what they carry: the only file that knows addresses.

export interface Canvas { width: number; height: number }
/** Left, top, width, height in canvas pixels. */
export type BBox = [number, number, number, number];
export interface LayoutObject { phrase: string; bbox: BBox }
export interface Layout { canvas: Canvas; objects: LayoutObject[]; background: string; negative: string }

export interface Finding { severity: "fault" | "remark"; message: string }
export interface Candidate { layout: Layout; findings: Finding[]; penalty: number }
export interface Plan { layout: Layout; findings: Finding[]; candidates: Candidate[] }
export interface Repaired { layout: Layout; mended: string[]; findings: Finding[] }
export interface Composed { overall_prompt: string; overall_negative: string; objects: { prompt: string; box: BBox }[]; object_negative: string }

export type OptionValue = string | number | boolean | null | OptionValue[] | { [name: string]: OptionValue };
export interface MethodOption {
  name: string;
  /** `boolean`, `integer`, `number`, `choice`, `text`, `list`, `table` or `any`. */
  kind: string;
  /** What it does, in a sentence or two. */
  summary: string;
  default: OptionValue;
  choices?: string[];
}
export interface Method { name: string; summary: string; needs_layout: boolean; options: MethodOption[] }
export interface Options {
  version: string;
  methods: Method[];
  models: { id: string; image_size: Canvas }[];
  schedulers: string[];
  /** What can read the prompts, the default first. */
  text_encoders: string[];
  defaults: { method: string; model: string; scheduler: string | null; steps: number; guidance_scale: number | null; seed: number; seed_text?: string };
  limits: { boxes: number; pixels: number; steps: number; body_bytes: number; images: number; caption_chars: number; phrase_chars?: number };
  planner: { name: string; edits: boolean };
}

export type JobState = "queued" | "running" | "done" | "failed" | "cancelled";
export interface Progress { stage: string; step: number; steps: number; seconds_left: number | null }
export interface Verdict { phrase: string; box: BBox; found: boolean; score: number; detected_box: BBox | null }
/** How a picture is painted, as jobs and recipes say it; null is what suits the server, the method or the model. */
export interface Sampling {
  method: string;
  model: string;
  /** Rounded by JavaScript above 2^53: see `seedOf`. */
  seed: number;
  /** The same seed, exactly. */
  seed_text?: string;
  steps: number;
  guidance_scale: number | null;
  scheduler: string | null;
  options: Record<string, OptionValue>;
  /** In place of the default words for bad quality. */
  negative: string | null;
  width: number | null;
  height: number | null;
  /** The share of the steps with classifier-free guidance: first and end, from 0 to 1. */
  guidance_interval: [number, number] | null;
  /** The deep layers are run in every so many steps. */
  deep_every: number | null;
  /** The side of self-attention's windows. */
  merge_tokens: number | null;
  text_encoder: string | null;
  /** What reads the negative prompt, if it is another. */
  negative_encoder: string | null;
}
export interface Job extends Sampling {
  id: string;
  state: JobState;
  caption: string;
  layout: Layout | null;
  created: string;
  started: string | null;
  finished: string | null;
  /** How many are before it in the queue. */
  position: number | null;
  progress: Progress | null;
  error: { message: string; hint: string | null } | null;
  image: string | null;
  verdict: { objects: Verdict[] } | null;
  warnings: string[];
}
export interface JobRequest extends Partial<Omit<Sampling, "seed" | "seed_text">> {
  caption: string;
  /** As text, which is exact. */
  seed?: string;
  layout?: Layout;
  judge?: boolean;
}
/** How a picture was made, as it says itself. */
export interface Recipe extends Sampling {
  caption: string | null;
  layout: Layout | null;
}

/** What a picture of another program says of itself. */
export interface ForeignPicture {
  program: string;
  version: string | null;
  prompt: string | null;
  /** The prompt without weights and tags. */
  caption: string | null;
  negative: string | null;
  seed: string | null;
  width: number | null;
  height: number | null;
  steps: number | null;
  guidance_scale: number | null;
  sampler: string | null;
  model: string | null;
  /** What cannot be kept, a sentence each. */
  notes: string[];
}

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
  evaluate: (id: string): Promise<{ objects: Verdict[] }> => post("api/evaluate", { job: id }),
  events: (id: string, signal: AbortSignal): Promise<Response> => send(`${jobPath(id)}/events`, { signal, headers: { Accept: "text/event-stream" } }),
  imagePath: (id: string): string => `${jobPath(id)}/image.png`,
};
