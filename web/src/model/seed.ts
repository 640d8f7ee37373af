// Seeds as text: they are whole numbers up to 2^64 − 1, and numbers of JavaScript are exact to 2^53 only.

export const MAX_SEED = 2n ** 64n - 1n;

/** A seed as it is kept, without zeros in front; null if the text is none. */
export function readSeed(text: string): string | null {
  const digits = text.trim();
  if (!/^\d{1,30}$/.test(digits)) return null;
  const seed = BigInt(digits);
  return seed <= MAX_SEED ? String(seed) : null;
}

/** The seed of a job or a recipe. Servers before there was `seed_text` told numbers alone. */
export const seedOf = ({ seed, seed_text: text }: { seed: number; seed_text?: string }): string => text ?? String(seed);

/** Large enough not to meet twice, short enough to read out. */
export const newSeed = (): string => String(Math.floor(Math.random() * 1_000_000));
