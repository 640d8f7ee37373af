// A field for an option of a method, after the kind that the server says it is.
import { useState } from "preact/hooks";
import type { Method, MethodOption, OptionValue } from "../api";
import { withOption } from "../model/settings";
import { settings } from "../store";
import { Check, Field, NumberField, Select } from "./controls";

export function OptionField({ method, option }: { method: Method; option: MethodOption }) {
  const now = settings.value;
  if (!now) return null;
  const value = now.options[method.name]?.[option.name] ?? option.default;
  const label = option.name.replaceAll("_", " ");
  const hint = option.summary;
  const set = (next: OptionValue): void => {
    if (settings.value) settings.value = withOption(settings.value, method, option.name, next);
  };
  if (option.kind === "boolean" && typeof value === "boolean") return <Check label={label} hint={hint} checked={value} onChange={set} />;
  if (option.kind === "integer" && typeof value === "number") return <NumberField label={label} hint={hint} value={value} onChange={set} />;
  if (option.kind === "number" && typeof value === "number") return <NumberField label={label} hint={hint} value={value} step="any" onChange={set} />;
  if (option.choices && typeof value === "string") {
    return <Select label={label} hint={hint} value={value} choices={option.choices.map((choice) => [choice, choice.replaceAll("_", " ")] as const)} onChange={set} />;
  }
  return <ValueField label={label} hint={hint} isText={option.kind === "text"} value={value} onChange={set} />;
}

/** A list, an object, a text or nothing: written as JSON, or as bare words. */
function ValueField({ label, hint, isText, value, onChange }: { label: string; hint: string; isText: boolean; value: OptionValue; onChange: (value: OptionValue) => void }) {
  const [typed, setTyped] = useState<string | null>(null);
  const text = typed ?? (value === null ? "" : typeof value === "string" ? value : JSON.stringify(value));
  return (
    <Field label={label} hint={hint}>
      <input
        value={text} placeholder="not set" spellcheck={false}
        onInput={(event) => setTyped(event.currentTarget.value)}
        onBlur={() => {
          if (typed !== null) onChange(isText ? typed : parse(typed));
          setTyped(null);
        }}
      />
    </Field>
  );
}

function parse(text: string): OptionValue {
  if (text.trim() === "") return null;
  try {
    const value = JSON.parse(text) as OptionValue;
    // A whole number that JavaScript would round goes as it was typed.
    return typeof value === "number" && Number.isInteger(value) && !Number.isSafeInteger(value) ? text.trim() : value;
  } catch {
    return text;
  }
}
