// A sheet with the shape of a canvas, as large as the page allows, and where boxes lie on it.
import type { CSSProperties, ComponentChildren, RefObject, TargetedPointerEvent } from "preact";
import type { Canvas } from "../api";
import type { Rect } from "../model/geometry";

interface PaperProps {
  canvas: Canvas;
  label: string;
  class?: string;
  paperRef?: RefObject<HTMLDivElement | null>;
  children: ComponentChildren;
  onPointerDown?: (event: TargetedPointerEvent<HTMLDivElement>) => void;
  onPointerMove?: (event: TargetedPointerEvent<HTMLDivElement>) => void;
  onPointerUp?: () => void;
  onPointerCancel?: () => void;
}

export function Paper({ canvas, label, class: name = "", paperRef, children, ...handlers }: PaperProps) {
  // The sheet's width follows from the window's height in the stylesheet, which needs the shape as a number.
  const style = { "--aspect": String(canvas.width / canvas.height), "--cells": String(canvas.width / 32) } as CSSProperties;
  return (
    <div class="paper-frame" style={style}>
      <div {...(paperRef && { ref: paperRef })} class={`paper ${name}`} role="group" aria-label={label} {...handlers}>{children}</div>
    </div>
  );
}

/** A box's place on a sheet, in shares of it. */
export function placed(rect: Rect, canvas: Canvas): CSSProperties {
  const share = (value: number, of: number): string => `${(100 * value) / of}%`;
  return { left: share(rect.x, canvas.width), top: share(rect.y, canvas.height), width: share(rect.width, canvas.width), height: share(rect.height, canvas.height) };
}
