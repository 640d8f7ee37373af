// A window over the page, with the browser's own keeping of focus and Escape.
import type { ComponentChildren } from "preact";
import { useEffect, useRef } from "preact/hooks";

interface DialogProps { title: string; onClose?: () => void; children: ComponentChildren }

/** Without `onClose` it stays until it is answered. */
export function Dialog({ title, onClose, children }: DialogProps) {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => dialog.current?.showModal(), []);
  return (
    <dialog
      ref={dialog} aria-label={title}
      onCancel={(event) => { if (!onClose) event.preventDefault(); }}
      onClose={() => onClose?.()}
      onClick={(event) => { if (event.target === dialog.current && onClose) dialog.current?.close(); }}
    >
      <h2>{title}</h2>
      {children}
    </dialog>
  );
}
