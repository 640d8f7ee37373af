// Options of methods as their descriptions have them: what a field needs, what it says, and what is typed into it.
import type { MethodOption, OptionValue } from "../api";

/** Options by the headings of what they belong to, in the order in which those first come. */
export function groupsOf(options: readonly MethodOption[]): { group: string; options: MethodOption[] }[] {
  const groups: { group: string; options: MethodOption[] }[] = [];
  for (const option of options) {
    const known = groups.find(({ group }) => group === option.group);
    if (known) known.options.push(option);
    else groups.push({ group: option.group, options: [option] });
  }
  return groups;
}

/** All that there is to say of an option, a line each. */
export function hintOf(option: MethodOption): string {
  const lines = [option.summary, option.details];
  option.choices?.forEach((choice, index) => {
    const help = option.choices_help?.[index];
    if (help) lines.push(`${choice}: ${help}`);
  });
  lines.push([rangeOf(option), option.unit].filter(Boolean).join(", "));
  if (option.published !== undefined) lines.push(`Published: ${textOf(option, option.published) || "not set"}`);
  return lines.filter(Boolean).join("\n");
}

function rangeOf({ range }: MethodOption): string {
  if (!range) return "";
  const { minimum, maximum, above_minimum: above, below_maximum: below } = range;
  const from = typeof minimum === "number" ? `${above ? "above" : "from"} ${minimum}` : "";
  const to = typeof maximum === "number" ? `${below ? "below" : "to"} ${maximum}` : "";
  return [from, to].filter(Boolean).join(" ");
}

/** What a field of a number needs of its setting: what it says, and where the number may be. */
export function numberField(settings: readonly MethodOption[], name: string): { hint?: string; min?: number; max?: number } {
  const setting = settings.find((setting) => setting.name === name);
  if (!setting) return {};
  const { minimum, maximum } = setting.range ?? {};
  return { hint: hintOf(setting), ...(typeof minimum === "number" && { min: minimum }), ...(typeof maximum === "number" && { max: maximum }) };
}

/** Whether a number lies in the option's range. */
export function isWithin({ range }: MethodOption, value: number): boolean {
  const { minimum, maximum, above_minimum: above, below_maximum: below } = range ?? {};
  const isAbove = typeof minimum !== "number" || (above ? value > minimum : value >= minimum);
  const isBelow = typeof maximum !== "number" || (below ? value < maximum : value <= maximum);
  return isAbove && isBelow;
}

/** A value as its field shows it: lists with what repeats once, `4 ×5, 3`; nothing for null. */
export function textOf(option: MethodOption, value: OptionValue): string {
  if (value === null) return "";
  if (typeof value === "string") return value;
  if (option.kind !== "list" || !Array.isArray(value)) return JSON.stringify(value);
  const runs: [OptionValue, number][] = [];
  for (const entry of value) {
    const last = runs.at(-1);
    if (last && last[0] === entry) last[1] += 1;
    else runs.push([entry, 1]);
  }
  return runs.map(([entry, times]) => (times > 1 ? `${JSON.stringify(entry)} ×${times}` : JSON.stringify(entry))).join(", ");
}

/** What typed text stands for by the option's kind; `undefined` if it stands for nothing. */
export function valueOf(option: MethodOption, text: string): OptionValue | undefined {
  const typed = text.trim();
  if (typed === "" && option.nullable) return null;
  switch (option.kind) {
    case "text": return text;
    case "integer": return /^\d+$/.test(typed) ? exact(typed) : undefined;
    case "list": return typed.startsWith("[") ? parsed(typed, Array.isArray) : listOf(typed, option);
    case "table": return parsed(typed, (value) => typeof value === "object" && value !== null && !Array.isArray(value));
    default: return undefined;
  }
}

/** A whole number that JavaScript would round stays as it was typed. */
function exact(digits: string): OptionValue {
  return Number.isSafeInteger(Number(digits)) ? Number(digits) : digits;
}

function parsed(text: string, isRight: (value: unknown) => boolean): OptionValue | undefined {
  try {
    const value = JSON.parse(text) as OptionValue;
    return isRight(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

/** `4 ×5, 3 ×5, 2`. */
function listOf(text: string, option: MethodOption): OptionValue | undefined {
  const list: number[] = [];
  for (const entry of text === "" ? [] : text.split(",")) {
    const [number, times] = /^\s*(\d+(?:\.\d+)?)\s*(?:[×x*]\s*(\d{1,4}))?\s*$/.exec(entry)?.slice(1).map((digits) => (digits === undefined ? 1 : Number(digits))) ?? [];
    if (number === undefined || times === undefined || !isWithin(option, number)) return undefined;
    list.push(...Array<number>(times).fill(number));
  }
  return list;
}
