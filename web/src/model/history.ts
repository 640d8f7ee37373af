// Undo and redo over values that are never changed in place.

export interface History<T> {
  past: readonly T[];
  present: T;
  future: readonly T[];
  /** What the last change was part of: a drag, a word being typed. Changes of one part are undone together. */
  part: string | null;
}

/** States kept; a state is a few kilobytes. */
const MAX_PAST = 200;

export const startHistory = <T>(present: T): History<T> => ({ past: [], present, future: [], part: null });

export function commit<T>(history: History<T>, next: T, part: string | null = null): History<T> {
  if (next === history.present) return history;
  const joins = part !== null && part === history.part;
  const past = joins ? history.past : [...history.past, history.present].slice(-MAX_PAST);
  return { past, present: next, future: [], part };
}

/** Ends a part, so that the next change of the same name is undone by itself. */
export const endPart = <T>(history: History<T>): History<T> => (history.part === null ? history : { ...history, part: null });

export function undo<T>(history: History<T>): History<T> {
  const previous = history.past.at(-1);
  if (previous === undefined) return history;
  return { past: history.past.slice(0, -1), present: previous, future: [history.present, ...history.future], part: null };
}

export function redo<T>(history: History<T>): History<T> {
  const [next, ...future] = history.future;
  if (next === undefined) return history;
  return { past: [...history.past, history.present], present: next, future, part: null };
}
