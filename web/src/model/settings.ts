// How to paint: what is sent with a job beside caption and layout.
import type { ForeignPicture, JobRequest, Method, MethodOption, OptionValue, Options, Recipe } from "../api";
import { readSeed, seedOf } from "./seed";

export interface Settings {
  method: string;
  model: string;
  /** In decimal, up to 2^64 − 1. */
  seed: string;
  steps: number;
  guidanceScale: number | null;
  scheduler: string | null;
  /** Only what differs from the method's own defaults, by method. */
  options: Record<string, Record<string, OptionValue>>;
  judge: boolean;
  /** Seeds to try until a picture is right. */
  attempts: number;
  /** Whether what is wrong with the best of them is repaired. */
  repair: boolean;
  /** In place of the default keywords of quality; null leaves them. */
  negative: string | null;
  /** Of the picture, in pixels; null is the model's own. */
  width: number | null;
  height: number | null;
  /** What reads the prompts; null is the server's default. */
  textEncoder: string | null;
  /** What reads the negative prompt; null is the same. */
  negativeEncoder: string | null;
  /** What trades a little quality for time; null is off. */
  guidanceInterval: [number, number] | null;
  deepEvery: number | null;
  mergeTokens: number | null;
}

/** Options shown beside the seed and the steps; the others are folded. Names that a method lacks are skipped. */
const THAT_MATTER = ["frozen_step_ratio", "loss_scale", "gligen_scheduled_sampling_beta", "overall_gligen_scheduled_sampling_beta", "bootstrapping", "max_index_step"];
const SHOWN = 3;

export function settingsFromOptions(options: Options, previous: Settings | null): Settings {
  const { defaults } = options;
  const known = <T>(value: T | undefined, all: readonly T[], or: T): T => (value !== undefined && all.includes(value) ? value : or);
  return {
    method: known(previous?.method, options.methods.map((method) => method.name), defaults.method),
    model: known(previous?.model, options.models.map((model) => model.id), defaults.model),
    // Sessions of before seeds were text have a number.
    seed: readSeed(String(previous?.seed)) ?? seedOf(defaults),
    steps: previous?.steps ?? defaults.steps,
    guidanceScale: previous?.guidanceScale ?? defaults.guidance_scale,
    scheduler: known(previous?.scheduler ?? undefined, options.schedulers, defaults.scheduler),
    options: previous?.options ?? {},
    judge: previous?.judge ?? true,
    attempts: previous?.attempts ?? 1,
    repair: previous?.repair ?? false,
    negative: previous?.negative ?? null,
    width: previous?.width ?? null,
    height: previous?.height ?? null,
    textEncoder: offeredEncoder(previous?.textEncoder, options),
    negativeEncoder: offeredEncoder(previous?.negativeEncoder, options),
    guidanceInterval: previous?.guidanceInterval ?? null,
    deepEvery: previous?.deepEvery ?? null,
    mergeTokens: previous?.mergeTokens ?? null,
  };
}

function offeredEncoder(name: string | null | undefined, options: Options): string | null {
  return name && options.text_encoders.includes(name) ? name : null;
}

/** A share of the steps as it is kept: all of them is null. */
export function interval(from: number, to: number): [number, number] | null {
  return from === 0 && to === 1 ? null : [from, to];
}

/** A divisor as it is kept: every one is null. */
const moreThanOne = (n: number | null): number | null => (n !== null && n > 1 ? n : null);

/** A method's options, those that matter apart from the rest. */
export function splitOptions(method: Method): { shown: MethodOption[]; folded: MethodOption[] } {
  const shown = THAT_MATTER.flatMap((name) => method.options.filter((option) => option.name === name)).slice(0, SHOWN);
  return { shown, folded: method.options.filter((option) => !shown.includes(option)) };
}

/** `settings` with one option set; the default is not kept, so that a newer default counts. */
export function withOption(settings: Settings, method: Method, name: string, value: OptionValue): Settings {
  const own = { ...settings.options[method.name] };
  const option = method.options.find((other) => other.name === name);
  if (JSON.stringify(option?.default) === JSON.stringify(value)) delete own[name];
  else own[name] = value;
  return { ...settings, options: { ...settings.options, [method.name]: own } };
}

/** Whether somebody at the server can look at a model's pictures, so that there can be attempts. */
export const isChecked = (model: string, options: Options): boolean => options.editing?.checked_models.includes(model) ?? false;

export function requestFromSettings(settings: Settings, canCheck: boolean): Omit<JobRequest, "caption" | "layout"> {
  const { method, model, seed, steps, judge } = settings;
  const request: Omit<JobRequest, "caption" | "layout"> = { method, model, seed, steps, judge };
  if (canCheck && settings.attempts > 1) request.attempts = settings.attempts;
  if (canCheck && settings.repair) request.repair = true;
  if (settings.guidanceScale !== null) request.guidance_scale = settings.guidanceScale;
  if (settings.negative !== null) request.negative = settings.negative;
  if (settings.width !== null) request.width = settings.width;
  if (settings.height !== null) request.height = settings.height;
  if (settings.scheduler !== null) request.scheduler = settings.scheduler;
  if (settings.textEncoder !== null) request.text_encoder = settings.textEncoder;
  if (settings.negativeEncoder !== null) request.negative_encoder = settings.negativeEncoder;
  if (settings.guidanceInterval !== null) request.guidance_interval = settings.guidanceInterval;
  if (settings.deepEvery !== null) request.deep_every = settings.deepEvery;
  if (settings.mergeTokens !== null) request.merge_tokens = settings.mergeTokens;
  const options = settings.options[method];
  if (options && Object.keys(options).length) request.options = options;
  return request;
}

/** The settings that a picture was made with. What belongs to this server alone (model, scheduler, text encoder) is left as it was where it is not offered.
 * Throws with a sentence if the method or one of its options is not known here: another picture would be painted under the name of this one. */
export function settingsFromRecipe(recipe: Recipe, options: Options, now: Settings): Settings {
  const method = options.methods.find((other) => other.name === recipe.method);
  if (!method) throw new Error(`it was painted with the method “${recipe.method}”, which this server does not have.`);
  const given = Object.entries(recipe.options ?? {});
  const unknown = given.map(([name]) => name).find((name) => !method.options.some((option) => option.name === name));
  if (unknown !== undefined) throw new Error(`it was painted with the option “${unknown}” of ${method.name}, which this server does not know.`);
  let next: Settings = { ...now, method: method.name, seed: seedOf(recipe), steps: recipe.steps, guidanceScale: recipe.guidance_scale ?? now.guidanceScale };
  const model = options.models.find((other) => other.id === recipe.model);
  if (model) next.model = model.id;
  // The model's own size is left to it, so that another model can have its own.
  const isOwn = model?.image_size.width === recipe.width && model?.image_size.height === recipe.height;
  next.width = isOwn ? null : recipe.width;
  next.height = isOwn ? null : recipe.height;
  next.negative = recipe.negative;
  const encoder = offeredEncoder(recipe.text_encoder, options);
  next.textEncoder = encoder === options.text_encoders[0] ? null : encoder;
  next.negativeEncoder = offeredEncoder(recipe.negative_encoder, options);
  next.guidanceInterval = recipe.guidance_interval && interval(...recipe.guidance_interval);
  next.deepEvery = moreThanOne(recipe.deep_every);
  next.mergeTokens = moreThanOne(recipe.merge_tokens);
  if (recipe.scheduler && options.schedulers.includes(recipe.scheduler)) next.scheduler = recipe.scheduler;
  next.options = { ...next.options, [method.name]: {} };
  for (const [name, value] of given) next = withOption(next, method, name, value);
  return next;
}

/** What of a recipe this server cannot offer, in words: its picture would be another. */
export function notOffered(recipe: Recipe, options: Options): string[] {
  const missing: string[] = [];
  if (!options.models.some((model) => model.id === recipe.model)) missing.push(`the model “${recipe.model}”`);
  if (recipe.scheduler && !options.schedulers.includes(recipe.scheduler)) missing.push(`the scheduler “${recipe.scheduler}”`);
  for (const name of [recipe.text_encoder, recipe.negative_encoder]) if (name && !options.text_encoders.includes(name)) missing.push(`the text encoder “${name}”`);
  return missing;
}

/** What can be taken over from a picture of another program. */
export function settingsFromForeign(picture: ForeignPicture, now: Settings): Settings {
  return {
    ...now,
    seed: (picture.seed !== null ? readSeed(picture.seed) : null) ?? now.seed,
    steps: picture.steps ?? now.steps,
    guidanceScale: picture.guidance_scale ?? now.guidanceScale,
    width: picture.width ?? now.width,
    height: picture.height ?? now.height,
  };
}
