// How to paint: what most people change first, the rest folded.
import { groupsOf, numberField } from "../model/options";
import { MAX_SEED, newSeed, readSeed } from "../model/seed";
import { type Settings, interval, isChecked, splitOptions } from "../model/settings";
import { useState } from "preact/hooks";
import { method, options, settings } from "../store";
import { Composed } from "./Composed";
import { Check, Field, IconButton, NumberField, Select } from "./controls";
import { OptionField } from "./OptionField";

export function PaintPanel() {
  const now = settings.value;
  const offered = options.value;
  return (
    <aside class="panel paint-panel" aria-label="Painting">
      <div class="panel-head"><h2>How to paint</h2></div>
      {now && offered ? <Fields /> : <p class="empty">The server says here what it can paint with, once it answers.</p>}
    </aside>
  );
}

const set = (change: Partial<Settings>): void => {
  if (settings.value) settings.value = { ...settings.value, ...change };
};

function Fields() {
  const now = settings.value;
  const offered = options.value;
  if (!now || !offered) return null;
  return (
    <>
      <Select label="Method" value={now.method} choices={offered.methods.map(({ name }) => [name, name] as const)} onChange={(name) => set({ method: name })} />
      {method.value && <p class="method-summary">{method.value.summary}</p>}
      <Select label="Model" value={now.model} choices={offered.models.map(({ id, image_size: size }) => [id, `${id} · ${size.width} × ${size.height}`] as const)} onChange={(model) => set({ model })} />
      <div class="pair">
        <div class="with-button">
          <SeedField seed={now.seed} />
          <IconButton icon="dice" label="Another seed" onClick={() => set({ seed: newSeed() })} />
        </div>
        <NumberField label="Steps" value={now.steps} {...numberField(offered.settings, "steps")} max={offered.limits.steps} onChange={(steps) => set({ steps })} />
      </div>
      <div class="pair">
        <NumberField label="Guidance" value={now.guidanceScale} {...numberField(offered.settings, "guidance_scale")} step="any" placeholder="auto" onEmpty={() => set({ guidanceScale: null })} onChange={(guidanceScale) => set({ guidanceScale })} />
        <Select label="Scheduler" value={now.scheduler ?? ""} choices={[["", "auto"], ...offered.schedulers.map((name) => [name, name] as const)]} hint="auto: what suits the method" onChange={(scheduler) => set({ scheduler: scheduler || null })} />
      </div>
      <Check label="Look for the objects afterwards" hint="A detector says for each box whether its object is there" checked={now.judge} onChange={(judge) => set({ judge })} />
      {isChecked(now.model, offered) && <UntilRight now={now} />}
      <MethodOptions />
      <SizeAndWords />
      <SpeedAndText />
      <Composed />
    </>
  );
}

/** Most tries that the server takes on for one picture. */
const MAX_ATTEMPTS = 16;

function UntilRight({ now }: { now: Settings }) {
  return (
    <div class="pair">
      <NumberField label="Tries" value={now.attempts} min={1} max={MAX_ATTEMPTS} hint="Seeds to try, one after the other, until the detector sees what was asked for; the best picture is kept" onChange={(attempts) => set({ attempts })} />
      <Check label="Repair" hint="What the detector sees is wrong with the best picture is painted anew; the rest of it stays" checked={now.repair} onChange={(repair) => set({ repair })} />
    </div>
  );
}

/** Not a field of numbers: a browser rounds those above 2^53. */
function SeedField({ seed }: { seed: string }) {
  const [typed, setTyped] = useState<string | null>(null);
  const isWrong = typed !== null && readSeed(typed) === null;
  return (
    <Field label="Seed" hint={`The same seed paints the same picture. A whole number up to ${MAX_SEED}`}>
      <input
        inputMode="numeric" spellcheck={false} autocomplete="off" maxLength={30} aria-invalid={isWrong} value={typed ?? seed}
        onInput={(event) => {
          setTyped(event.currentTarget.value);
          const read = readSeed(event.currentTarget.value);
          if (read !== null) set({ seed: read });
        }}
        onBlur={() => setTyped(null)}
      />
    </Field>
  );
}

function SizeAndWords() {
  const now = settings.value;
  const model = options.value?.models.find(({ id }) => id === now?.model);
  if (!now || !model) return null;
  const { width, height } = model.image_size;
  const described = options.value?.settings ?? [];
  return (
    <details>
      <summary>Size and quality {(now.width ?? now.height ?? now.negative) !== null && <small>changed</small>}</summary>
      <div class="pair">
        <NumberField label="Width" value={now.width} {...numberField(described, "width")} step={8} placeholder={String(width)} onEmpty={() => set({ width: null })} onChange={(side) => set({ width: side })} />
        <NumberField label="Height" value={now.height} {...numberField(described, "height")} step={8} placeholder={String(height)} onEmpty={() => set({ height: null })} onChange={(side) => set({ height: side })} />
      </div>
      <Field label="Instead of the default words for bad quality">
        <textarea rows={2} maxLength={1000} placeholder="the model's own" value={now.negative ?? ""} onInput={(event) => set({ negative: event.currentTarget.value || null })} />
      </Field>
    </details>
  );
}

function SpeedAndText() {
  const now = settings.value;
  const encoders = options.value?.text_encoders ?? [];
  const described = options.value?.settings ?? [];
  if (!now) return null;
  const [from, to] = now.guidanceInterval ?? [0, 1];
  const isChanged = [now.textEncoder, now.negativeEncoder, now.guidanceInterval, now.deepEvery, now.mergeTokens].some((value) => value !== null);
  const named = encoders.map((name) => [name, name] as const);
  return (
    <details>
      <summary>Speed and text {isChanged && <small>changed</small>}</summary>
      <p class="note">Each of these numbers saves time for a little quality.</p>
      <div class="pair">
        <NumberField label="Guidance from" value={now.guidanceInterval && from} min={0} max={to} step="any" placeholder="0" onEmpty={() => set({ guidanceInterval: interval(0, to) })} hint="Classifier-free guidance in a share of the steps only: 0 is the first step, 1 the end. Steps without it cost half; 0 to 0.6 takes a sixth of the time off" onChange={(share) => set({ guidanceInterval: interval(share, to) })} />
        <NumberField label="Guidance until" value={now.guidanceInterval && to} min={from} max={1} step="any" placeholder="1" onEmpty={() => set({ guidanceInterval: interval(from, 1) })} hint="The end of that share, from 0 to 1" onChange={(share) => set({ guidanceInterval: interval(from, share) })} />
      </div>
      <div class="pair">
        <NumberField label="Deep layers every" value={now.deepEvery} {...numberField(described, "deep_every")} placeholder="1" onEmpty={() => set({ deepEvery: null })} onChange={(n) => set({ deepEvery: n > 1 ? n : null })} />
        <NumberField label="Merge tokens" value={now.mergeTokens} {...numberField(described, "merge_tokens")} placeholder="1" onEmpty={() => set({ mergeTokens: null })} onChange={(n) => set({ mergeTokens: n > 1 ? n : null })} />
      </div>
      <div class="pair">
        <Select label="Text encoder" value={now.textEncoder ?? encoders[0] ?? ""} choices={named} hint="What reads the prompts. clip: short texts, words can guide. ella: long descriptions, but no words that guide. ella+clip: both. ELLA is one more model to load and to run" onChange={(name) => set({ textEncoder: name === encoders[0] ? null : name })} />
        <Select label="Negative encoder" value={now.negativeEncoder ?? ""} choices={[["", "the same"], ...named]} hint="What reads the words that must not be there" onChange={(name) => set({ negativeEncoder: name || null })} />
      </div>
    </details>
  );
}

function MethodOptions() {
  const current = method.value;
  const now = settings.value;
  if (!current || !now || current.options.length === 0) return null;
  const { shown, folded } = splitOptions(current);
  const changed = Object.keys(now.options[current.name] ?? {}).length;
  return (
    <>
      {shown.map((option) => <OptionField key={option.name} method={current} option={option} />)}
      {folded.length > 0 && (
        <details class="all-options">
          <summary>All options of {current.name} {changed > 0 && <small>{changed} changed</small>}</summary>
          {changed > 0 && <button type="button" class="second small" onClick={() => set({ options: { ...now.options, [current.name]: {} } })}>Back to the defaults</button>}
          <div class="options">
            {groupsOf(folded).map(({ group, options }) => (
              <fieldset key={group}>
                <legend>{group}</legend>
                {options.map((option) => <OptionField key={option.name} method={current} option={option} />)}
              </fieldset>
            ))}
          </div>
        </details>
      )}
    </>
  );
}
