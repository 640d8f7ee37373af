// The page: caption on top, canvas in the middle, panels at its sides, pictures below.
import { useEffect } from "preact/hooks";
import { onPageKey } from "../commands/keyboard";
import { announcement } from "../store";
import { Banner } from "./Banner";
import { CaptionBar } from "./CaptionBar";
import { DropTarget } from "./DropTarget";
import { Header } from "./Header";
import { HelpDialog } from "./HelpDialog";
import { Notices } from "./Notices";
import { PaintPanel } from "./PaintPanel";
import { ScenePanel } from "./ScenePanel";
import { Stage } from "./Stage";
import { Strip } from "./Strip";
import { TokenDialog } from "./TokenDialog";

export function App() {
  useEffect(() => {
    document.addEventListener("keydown", onPageKey);
    return () => document.removeEventListener("keydown", onPageKey);
  }, []);
  return (
    <>
      <Header />
      <Banner />
      <main class="page">
        <CaptionBar />
        <div class="workbench">
          <ScenePanel />
          <Stage />
          <PaintPanel />
        </div>
        <Strip />
      </main>
      <Notices />
      <DropTarget />
      <TokenDialog />
      <HelpDialog />
      <p class="unseen" role="status" aria-live="polite">{announcement.value}</p>
    </>
  );
}
