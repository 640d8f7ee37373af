// Gives the keyboard to what a command asked for.
import type { RefObject } from "preact";
import { useLayoutEffect, useRef } from "preact/hooks";
import { wanted } from "../store";

/** A reference for the element that is `part` of box `id`. */
export function useWanted<T extends HTMLElement>(id: string, part: "box" | "words"): RefObject<T | null> {
  const element = useRef<T>(null);
  const isWanted = wanted.value?.id === id && wanted.value.part === part;
  // Before the next key arrives, not after the next frame: people type on.
  useLayoutEffect(() => {
    if (!isWanted) return;
    element.current?.focus();
    if (element.current instanceof HTMLInputElement) element.current.select();
    wanted.value = null;
  }, [isWanted]);
  return element;
}
