// What the page asks the server when it opens, and again whenever the server is back.
import { api } from "../api";
import { settingsFromOptions } from "../model/settings";
import { options, settings } from "../store";
import { refreshStrip } from "./gallery";

export async function catchUp(): Promise<void> {
  options.value = await api.options();
  settings.value = settingsFromOptions(options.value, settings.value);
  await refreshStrip();
}
