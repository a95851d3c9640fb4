"""Write the state diagrams of docs/design.md anew from the tables that the scheduler runs on.

A diagram stands between ``<!-- states: noun -->`` and ``<!-- end -->``; what was between them is replaced.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from penstock.scheduler import states

PAGE = Path(__file__).resolve().parent / "design.md"
TABLES: dict[str, Mapping[str, Mapping[str, str]]] = {
    "job": states.JOB,
    "attempt": states.ATTEMPT,
    "worker": states.WORKER,
    "intake": states.INTAKE,
}


def diagram(table: Mapping[str, Mapping[str, str]]) -> str:
    """Return one table as a Mermaid diagram; several ways between the same two states share an arrow."""
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {next(iter(table))}"]
    for state, row in table.items():
        arrows: dict[str, list[str]] = {}
        for happening, target in row.items():
            arrows.setdefault(target, []).append(happening)
        lines += [f"    {state} --> {target}: {', '.join(happenings)}" for target, happenings in arrows.items()]
        if not row:
            lines.append(f"    {state} --> [*]")
    return "\n".join([*lines, "```"])


def with_diagrams(page: str) -> str:
    """Return the page with each diagram made anew."""
    for noun, table in TABLES.items():
        marked = re.compile(rf"(<!-- states: {noun} -->\n).*?(<!-- end -->)", re.DOTALL)
        page, count = marked.subn(lambda match, table=table: f"{match[1]}{diagram(table)}\n{match[2]}", page)
        if count != 1:
            raise ValueError(f"{PAGE.name} has {count} places for the diagram of the {noun}, and should have one")
    return page


if __name__ == "__main__":
    PAGE.write_text(with_diagrams(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
