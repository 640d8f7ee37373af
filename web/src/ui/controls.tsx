// Buttons and fields that the panels share.
import type { ComponentChildren, TargetedMouseEvent } from "preact";
import { useState } from "preact/hooks";
import { Icon, type IconName } from "./icons";

interface IconButtonProps {
  icon: IconName;
  label: string;
  onClick: (event: TargetedMouseEvent<HTMLButtonElement>) => void;
  disabled?: boolean;
  pressed?: boolean;
}

/** A button with a drawing; its label is its name and its tooltip. */
export function IconButton({ icon, label, onClick, disabled = false, pressed }: IconButtonProps) {
  return (
    <button type="button" class="icon-button" aria-label={label} title={label} aria-pressed={pressed} disabled={disabled} onClick={onClick}>
      <Icon name={icon} />
    </button>
  );
}

export function Field({ label, hint, children }: { label: string; hint?: string | undefined; children: ComponentChildren }) {
  return (
    <label class="field" title={hint}>
      <span class="field-label">{label}</span>
      {children}
    </label>
  );
}

interface NumberFieldProps {
  label: string;
  value: number | null;
  onChange: (value: number) => void;
  /** What an empty field means; without it, emptying changes nothing. */
  onEmpty?: () => void;
  placeholder?: string;
  min?: number;
  max?: number;
  step?: number | "any";
  hint?: string | undefined;
  disabled?: boolean;
}

/** A number; what is typed counts once it is one, and is held within the limits when the field is left. */
export function NumberField({ label, value, onChange, onEmpty, placeholder, min, max, step = 1, hint, disabled = false }: NumberFieldProps) {
  const [typed, setTyped] = useState<string | null>(null);
  const take = (text: string): void => {
    const number = Number(text);
    if (text.trim() === "") return onEmpty?.();
    if (Number.isNaN(number)) return;
    const whole = step === 1 ? Math.round(number) : number;
    onChange(Math.max(min ?? -Infinity, Math.min(whole, max ?? Infinity)));
  };
  return (
    <Field label={label} hint={hint}>
      <input
        type="number" inputMode={step === 1 ? "numeric" : "decimal"} min={min} max={max} step={step} disabled={disabled} placeholder={placeholder}
        value={typed ?? (value === null ? "" : String(value))}
        onInput={(event) => { setTyped(event.currentTarget.value); take(event.currentTarget.value); }}
        onBlur={() => setTyped(null)}
      />
    </Field>
  );
}

interface SelectProps<T extends string> { label: string; value: T; choices: readonly (readonly [T, string])[]; onChange: (value: T) => void; hint?: string | undefined }

export function Select<T extends string>({ label, value, choices, onChange, hint }: SelectProps<T>) {
  return (
    <Field label={label} hint={hint}>
      <select value={value} onChange={(event) => onChange(event.currentTarget.value as T)}>
        {choices.map(([id, name]) => <option key={id} value={id} selected={id === value}>{name}</option>)}
      </select>
    </Field>
  );
}

export function Check({ label, checked, onChange, hint }: { label: string; checked: boolean; onChange: (checked: boolean) => void; hint?: string | undefined }) {
  return (
    <label class="check" title={hint}>
      <input type="checkbox" checked={checked} onChange={(event) => onChange(event.currentTarget.checked)} />
      <span>{label}</span>
    </label>
  );
}
