// A field for an option of a method, from the description that the server has of it.
import { useState } from "preact/hooks";
import type { Method, MethodOption, OptionValue } from "../api";
import { hintOf, isWithin, textOf, valueOf } from "../model/options";
import { withOption } from "../model/settings";
import { settings } from "../store";
import { Check, Field, NumberField, Select } from "./controls";

export function OptionField({ method, option }: { method: Method; option: MethodOption }) {
  const now = settings.value;
  if (!now) return null;
  const value = now.options[method.name]?.[option.name] ?? option.default;
  const named = { label: option.name.replaceAll("_", " "), hint: hintOf(option) };
  const set = (next: OptionValue): void => {
    if (settings.value) settings.value = withOption(settings.value, method, option.name, next);
  };
  if (option.kind === "boolean" && typeof value === "boolean") return <Check {...named} checked={value} onChange={set} />;
  if (option.choices && typeof value === "string") {
    return <Select {...named} value={value} choices={option.choices.map((choice) => [choice, choice.replaceAll("_", " ")] as const)} onChange={set} />;
  }
  if (isNumber(option, value)) {
    const { minimum, maximum } = option.range ?? {};
    return (
      <NumberField
        {...named} value={value} step={option.kind === "integer" ? 1 : "any"}
        {...(typeof minimum === "number" && { min: minimum })} {...(typeof maximum === "number" && { max: maximum })}
        {...(option.nullable && { placeholder: "not set", onEmpty: () => set(null) })}
        onChange={(number) => { if (isWithin(option, number)) set(number); }}
      />
    );
  }
  return <ValueField {...named} option={option} value={value} onChange={set} />;
}

/** Whole numbers that may be left open are seeds, which a browser's field of numbers would round. */
function isNumber(option: MethodOption, value: OptionValue): value is number | null {
  if (option.kind === "number") return value === null || typeof value === "number";
  return option.kind === "integer" && !option.nullable && typeof value === "number";
}

/** A list, an object, a text or a seed, as text. */
function ValueField({ label, hint, option, value, onChange }: { label: string; hint: string; option: MethodOption; value: OptionValue; onChange: (value: OptionValue) => void }) {
  const [typed, setTyped] = useState<string | null>(null);
  const isWrong = typed !== null && valueOf(option, typed) === undefined;
  return (
    <Field label={label} hint={hint}>
      <input
        value={typed ?? textOf(option, value)} placeholder={option.nullable ? "not set" : ""} spellcheck={false} aria-invalid={isWrong}
        onInput={(event) => setTyped(event.currentTarget.value)}
        onBlur={() => {
          const read = typed === null ? undefined : valueOf(option, typed);
          if (read !== undefined) onChange(read);
          setTyped(null);
        }}
      />
    </Field>
  );
}
