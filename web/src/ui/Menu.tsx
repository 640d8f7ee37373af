// A button with a menu below it.
import type { ComponentChildren } from "preact";
import { Icon, type IconName } from "./icons";
import { useMenu } from "./useMenu";

interface MenuProps { label: string; icon: IconName; children: (close: () => void) => ComponentChildren }

export function Menu({ label, icon, children }: MenuProps) {
  const { isOpen, toggle, close, root, onKeyDown } = useMenu();
  return (
    <div class="menu" ref={root} onKeyDown={onKeyDown}>
      <button type="button" class="quiet" aria-haspopup="menu" aria-expanded={isOpen} onClick={toggle}>
        <Icon name={icon} /> <span class="label">{label}</span>
      </button>
      {isOpen && <div class="menu-items" role="menu" aria-label={label}>{children(close)}</div>}
    </div>
  );
}
