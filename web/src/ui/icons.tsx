// The page's drawings: strokes on a grid of 20, in the colour of the text around them.

const PATHS = {
  undo: "M7 5 3 9l4 4M3 9h8a5 5 0 0 1 0 10",
  redo: "m13 5 4 4-4 4m4-4H9a5 5 0 0 0 0 10",
  plus: "M10 4v12M4 10h12",
  copy: "M7 7h9v9H7zM4 13V4h9",
  trash: "M4 6h12M8 6V4h4v2M6 6l1 11h6l1-11",
  lock: "M5 9h10v8H5zM7 9V6a3 3 0 0 1 6 0v3",
  unlock: "M5 9h10v8H5zM7 9V6a3 3 0 0 1 5.6-1.5",
  up: "m5 12 5-5 5 5",
  down: "m5 8 5 5 5-5",
  close: "m5 5 10 10M15 5 5 15",
  check: "m4 11 4 4 8-9",
  dice: "M6 3.5h8A2.5 2.5 0 0 1 16.5 6v8a2.5 2.5 0 0 1-2.5 2.5H6A2.5 2.5 0 0 1 3.5 14V6A2.5 2.5 0 0 1 6 3.5zM7.2 7.2h.1M10 10h.1M12.8 12.8h.1",
  search: "M9 3a6 6 0 1 1 0 12A6 6 0 0 1 9 3zm4.5 10.5L18 18",
  download: "M10 3v10m-4-4 4 4 4-4M4 17h12",
  open: "M3 16V5h5l2 2h7v9z",
  share: "M10 13V3m-4 4 4-4 4 4M4 11v6h12v-6",
  theme: "M10 3a7 7 0 1 0 0 14zM10 3a7 7 0 0 1 0 14",
  help: "M10 2a8 8 0 1 1 0 16 8 8 0 0 1 0-16zM7.8 7.8a2.3 2.3 0 1 1 3.3 2.1c-.8.4-1.1.9-1.1 1.6M10 14.3h.01",
  eye: "M2 10s3-5 8-5 8 5 8 5-3 5-8 5-8-5-8-5zm8-2a2 2 0 1 1 0 4 2 2 0 0 1 0-4z",
  compare: "M10 2v16M4 5h4v10H4zM12 5h4v10h-4z",
  magnet: "M4 4v6a6 6 0 0 0 12 0V4h-4v6a2 2 0 0 1-4 0V4zM4 7h4m4 0h4",
  draw: "M4 4h12v12H4zM10 7.5v5M7.5 10h5",
  grip: "M8 5h.01M12 5h.01M8 10h.01M12 10h.01M8 15h.01M12 15h.01",
  restore: "M4 10a6 6 0 1 0 2-4.5M4 3v4h4",
  warn: "M10 3 2.5 16.5h15zM10 8v4m0 2.2h.01",
  wand: "m4 16 8-8m2-5v3m3 1h-3m2 3-1-1M11 4l1 1",
  question: "M7 7.4a3 3 0 1 1 4.4 2.7c-1 .5-1.4 1.1-1.4 2M10 15.2h.01",
  drop: "M10 3.5c3 3.6 4.6 5.9 4.6 8.2a4.6 4.6 0 0 1-9.2 0c0-2.3 1.6-4.6 4.6-8.2z",
  arrows: "M4 10h12M8 6l-4 4 4 4M12 6l4 4-4 4",
  grid: "M4 4h5v5H4zM11 4h5v5h-5zM4 11h5v5H4zM11 11h5v5h-5z",
} as const;

export type IconName = keyof typeof PATHS;

/** A drawing; what it means is said by the button around it. */
export function Icon({ name }: { name: IconName }) {
  return (
    <svg class="icon" viewBox="0 0 20 20" aria-hidden="true">
      <path d={PATHS[name]} />
    </svg>
  );
}
