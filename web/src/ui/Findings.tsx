// What the checks say about the layout.
import { mend } from "../commands/plan";
import { doc, findings } from "../store";
import { Icon } from "./icons";

export function Findings() {
  if (doc.value.boxes.length === 0 || findings.value.length === 0) return null;
  const hasFault = findings.value.some((finding) => finding.severity === "fault");
  return (
    <div class="findings">
      <ul aria-label="What the checks say">
        {findings.value.map((finding) => (
          <li key={finding.message} class={finding.severity}><Icon name={finding.severity === "fault" ? "warn" : "help"} /> {finding.message}</li>
        ))}
      </ul>
      {hasFault && <button type="button" class="second small" title="Mend by rules what rules can mend" onClick={() => void mend()}>Mend</button>}
    </div>
  );
}
