"""Regenerate the state diagrams in docs/design.md from the tables that the scheduler runs on.

Each diagram replaces the text between ``<!-- states: noun -->`` and ``<!-- end -->``.
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
    """Return one table as a Mermaid diagram. Events that lead from one state to the same other share an arrow."""
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {next(iter(table))}"]
    for state, row in table.items():
        arrows: dict[str, list[str]] = {}
        for event, target in row.items():
            arrows.setdefault(target, []).append(event)
        lines += [f"    {state} --> {target}: {', '.join(events)}" for target, events in arrows.items()]
        if not row:
            lines.append(f"    {state} --> [*]")
    return "\n".join([*lines, "```"])


def with_diagrams(page: str) -> str:
    """Return the page with each diagram regenerated."""
    for noun, table in TABLES.items():
        marked = re.compile(rf"(<!-- states: {noun} -->\n).*?(<!-- end -->)", re.DOTALL)
        page, count = marked.subn(lambda match, table=table: f"{match[1]}{diagram(table)}\n{match[2]}", page)
        if count != 1:
            raise ValueError(f"{PAGE.name} has {count} places for the diagram of the {noun}; it needs exactly one")
    return page


if __name__ == "__main__":
    PAGE.write_text(with_diagrams(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
