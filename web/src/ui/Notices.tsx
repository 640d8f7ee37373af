// What went wrong or was done, at the foot of the window until it is put away.
import { useEffect, useState } from "preact/hooks";
import { type Notice, dismiss, notices } from "../store";
import { IconButton } from "./controls";

/** How long good news stays, in milliseconds. Errors stay until they are put away. */
const INFO_MS = 6000;

export function Notices() {
  return <div class="notices">{notices.value.map((notice) => <NoticeView key={notice.id} notice={notice} />)}</div>;
}

function NoticeView({ notice }: { notice: Notice }) {
  const { id, tone, message, hint, action } = notice;
  const [wait, setWait] = useState(action?.afterSecs ?? 0);
  useEffect(() => {
    if (tone !== "info") return;
    const timer = setTimeout(() => dismiss(id), INFO_MS);
    return () => clearTimeout(timer);
  }, [id, tone]);
  useEffect(() => {
    if (wait <= 0) return;
    const timer = setTimeout(() => setWait(wait - 1), 1000);
    return () => clearTimeout(timer);
  }, [wait]);
  return (
    <div class={`notice ${tone}`} role={tone === "error" ? "alert" : "status"}>
      <p>{message}{hint && <small>{hint}</small>}</p>
      {action && (
        <button type="button" class="second small" disabled={wait > 0} onClick={() => { dismiss(id); action.run(); }}>
          {wait > 0 ? `${action.label} in ${wait} s` : action.label}
        </button>
      )}
      <IconButton icon="close" label="Put away" onClick={() => dismiss(id)} />
    </div>
  );
}
