// The page's name, files, appearance and help.
import { useRef } from "preact/hooks";
import { FORMATS, exportAs, open, share } from "../commands/files";
import { connection, helpOpen, options } from "../store";
import { nextTheme, theme } from "../theme";
import { IconButton } from "./controls";
import { Icon } from "./icons";
import { Menu } from "./Menu";

export function Header() {
  const server = connection.value.state === "ok" ? (options.value ? `Sinopia ${options.value.version}` : "Connecting…") : "No server";
  return (
    <header class="header">
      <h1 class="brand">
        <svg viewBox="0 0 32 32" aria-hidden="true"><path d="M6 11h12v13H6zM14 7h12v10" /></svg>
        Sinopia
      </h1>
      <p class="brand-line">See the layout, move the boxes, watch it paint.</p>
      <span class={`server ${connection.value.state}`} title={server}><span class="unseen">{server}</span></span>
      <OpenButton />
      <Menu label="Save" icon="share">
        {(close) => (
          <>
            <button type="button" role="menuitem" onClick={() => { close(); share(); }}>
              Scene file <small>to share: all of this page in one file</small>
            </button>
            <hr />
            {FORMATS.map((format) => (
              <button key={format.id} type="button" role="menuitem" onClick={() => { close(); void exportAs(format); }}>{format.label}</button>
            ))}
          </>
        )}
      </Menu>
      <IconButton icon="theme" label={`Appearance: ${theme.value}`} onClick={nextTheme} />
      <IconButton icon="help" label="Keys and help" onClick={() => { helpOpen.value = true; }} />
    </header>
  );
}

function OpenButton() {
  const input = useRef<HTMLInputElement>(null);
  return (
    <>
      <button type="button" class="quiet" title="A picture of ours, a scene file, or a layout in any format" onClick={() => input.current?.click()}>
        <Icon name="open" /> <span class="label">Open</span>
      </button>
      <input
        ref={input} type="file" class="unseen" tabIndex={-1} aria-label="File to open" accept=".png,.json,.txt,.py,image/png,application/json,text/plain"
        onChange={(event) => {
          const file = event.currentTarget.files?.[0];
          event.currentTarget.value = ""; // so that the same file can be opened again
          if (file) void open(file);
        }}
      />
    </>
  );
}
