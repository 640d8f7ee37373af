"""Writes the figures that pages quote from the tables that hold them: `python figures.py`; results.py does so when it has written its tables.

A quoted figure stands in a page as `<!-- figure PAGE | TABLE | ROW | COLUMN -->8.2<!-- end -->`: of the table between `<!-- TABLE -->` and `<!-- end -->` in PAGE, the number that
the cell begins with. `cargo test -p sinopia --test figures` compares them.
"""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGES = ["*.md", "docs/*.md", "training/*.md", "web/*.md", "benches/*.md", "integrations/*.md", "crates/*/*.md"]
QUOTED = re.compile(r"(<!-- figure (.+?) -->)(.*?)(<!-- end -->)")


def cells(line):
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def figure(key):
    """The number that a key names."""
    page, table, row, column = (part.strip() for part in key.split("|"))
    text = (ROOT / page).read_text().split(f"<!-- {table} -->\n", 1)[1].split("<!-- end -->", 1)[0]
    header, _, *rows = (cells(line) for line in text.splitlines() if line.startswith("|"))
    cell = next(found[header.index(column)] for found in rows if found[0] == row)
    return cell.strip("*").split()[0]


def fill():
    """Writes all quoted figures anew."""
    for pattern in PAGES:
        for page in ROOT.glob(pattern):
            text = page.read_text()
            filled = QUOTED.sub(lambda found: found[1] + figure(found[2]) + found[4], text)
            if filled != text:
                page.write_text(filled)


if __name__ == "__main__":
    fill()
