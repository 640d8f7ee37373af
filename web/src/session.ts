// What a reload or a restart of the browser must not lose: the document and the settings, in this browser alone.
import { effect } from "@preact/signals";
import { emptyDoc } from "./model/document";
import { startHistory } from "./model/history";
import type { Settings } from "./model/settings";
import { readShared, writeShared } from "./model/share";
import { checkSoon } from "./commands/plan";
import { doc, history, settings, snapping } from "./store";
import { EXAMPLES } from "./examples";

const KEY = "sinopia.session";
const SNAP_KEY = "sinopia.snap";

export function restoreSession(): void {
  history.value = startHistory(emptyDoc(EXAMPLES[0]));
  try {
    snapping.value = localStorage.getItem(SNAP_KEY) !== "off";
    const kept = readShared(localStorage.getItem(KEY) ?? "");
    if (!kept) return;
    history.value = startHistory(kept.doc);
    // Not yet compared with what the server offers: that happens when it answers.
    settings.value = kept.paint as Settings | null;
  } catch {
    // No storage, or a file of another version: start afresh.
  }
}

/** Keeps the session once changes rest for a moment, and has the layout checked. */
export function keepSession(): void {
  let timer = 0;
  effect(() => {
    const text = writeShared(doc.value, settings.value);
    const snap = snapping.value ? "on" : "off";
    clearTimeout(timer);
    timer = window.setTimeout(() => {
      try {
        localStorage.setItem(KEY, text);
        localStorage.setItem(SNAP_KEY, snap);
      } catch {
        // A full or forbidden storage costs the memory, not the work.
      }
    }, 300);
  });
  effect(() => {
    void doc.value;
    checkSoon();
  });
}
