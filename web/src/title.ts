// The window's title: how far the newest painting is, for those who look at something else meanwhile.
import { effect } from "@preact/signals";
import { isLive } from "./model/job";
import { jobs, strip } from "./store";

const NAME = "Sinopia";

export function keepTitle(): void {
  effect(() => {
    const live = strip.value.map((id) => jobs.value.get(id)).find((job) => job !== undefined && isLive(job));
    const { step, steps } = live?.progress ?? { step: 0, steps: 0 };
    document.title = live ? `${steps > 0 ? `${Math.round((100 * step) / steps)} %` : "Waiting"} · ${NAME}` : NAME;
  });
}
