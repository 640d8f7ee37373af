// The prompts that the method will be told, for those who wonder what becomes of their boxes.
import { useEffect, useState } from "preact/hooks";
import { type Composed as Answer, ApiError, api } from "../api";
import { layoutFromDoc } from "../model/document";
import { doc } from "../store";

export function Composed() {
  const [isOpen, setOpen] = useState(false);
  return (
    <details onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary>What the method is told</summary>
      {isOpen && <Prompts />}
    </details>
  );
}

function Prompts() {
  const [answer, setAnswer] = useState<Answer | string | null>(null);
  const now = doc.value;
  useEffect(() => {
    // Typing should not ask at every letter; an answer that comes late is dropped.
    let isCurrent = true;
    const timer = setTimeout(() => {
      api.compose({ layout: layoutFromDoc(now), ...(now.caption.trim() && { caption: now.caption.trim() }) })
        .then((told) => { if (isCurrent) setAnswer(told); })
        .catch((error: unknown) => { if (isCurrent) setAnswer(error instanceof ApiError ? error.message : String(error)); });
    }, 300);
    return () => {
      isCurrent = false;
      clearTimeout(timer);
    };
  }, [now]);
  if (answer === null) return <p class="empty">…</p>;
  if (typeof answer === "string") return <p class="empty">{answer}</p>;
  return (
    <dl class="prompts">
      <dt>Whole picture</dt>
      <dd>{answer.overall_prompt}</dd>
      {answer.objects.map((object, index) => (
        <>
          <dt>Box {index + 1}</dt>
          <dd>{object.prompt}</dd>
        </>
      ))}
      <dt>Not in the whole picture</dt>
      <dd>{answer.overall_negative}</dd>
    </dl>
  );
}
