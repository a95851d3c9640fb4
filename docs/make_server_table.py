"""Regenerate the table of servers in docs/how-to/mounting.md from what the tests have found.

``python docs/make_server_table.py`` writes the table from docs/servers.json. With ``--measure`` it first runs
``tests/e2e/test_servers.py`` on every server, in two minutes, and writes docs/servers.json from its findings.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parent
PAGE = DOCS / "how-to" / "mounting.md"
FINDINGS = DOCS / "servers.json"
SERVERS = ("django", "fastapi", "flask", "granian", "gunicorn", "hypercorn", "starlette", "uvicorn")
HANGUPS = ("hang-up while waiting", "hang-up in a silent stream", "hang-up in a busy stream")
COLUMNS = {
    "served by": "",
    **{question: question for question in HANGUPS},
    "a stream that fails": "failed stream",
    "its log shows": "failed stream in the log",
    "a stream to HTTP/1.0": "stream to HTTP/1.0",
    "keeps connections": "keeps connections",
    "on SIGTERM": "SIGTERM",
}


def _cell(found: dict[str, Any], question: str) -> str:
    text = str(found[question])
    milliseconds = found.get(f"{question} ms")
    if milliseconds is None:
        return text
    # Rounded up generously, so that the next run does not change the page.
    limit = next(limit for limit in (5, 50, 500, 5000) if milliseconds <= limit)
    return f"within {limit} ms"


def table(document: dict[str, Any]) -> str:
    """Return the table as Markdown, with the date and the versions below it."""
    lines = ["| " + " | ".join(COLUMNS) + " |", "|" + "---|" * len(COLUMNS)]
    for host, found in document["findings"].items():
        cells = [host, *(_cell(found, question) for question in COLUMNS.values() if question)]
        lines.append("| " + " | ".join(cells) + " |")
    versions = ", ".join(f"{name} {version}" for name, version in document["versions"].items())
    return "\n".join([*lines, "", f"Measured on {document['date']} with {versions}."])


def with_table(page: str, document: dict[str, Any]) -> str:
    """Return the page with its table regenerated."""
    marked = re.compile(r"(<!-- servers -->\n).*?(<!-- end -->)", re.DOTALL)
    page, count = marked.subn(lambda match: f"{match[1]}{table(document)}\n{match[2]}", page)
    if count != 1:
        raise ValueError(f"{PAGE.name} has {count} places for the table of servers; it needs exactly one")
    return page


def read_findings() -> dict[str, Any]:
    """Return the committed findings, with their date and the versions of the servers."""
    document: dict[str, Any] = json.loads(FINDINGS.read_text(encoding="utf-8"))
    return document


def measure() -> None:
    """Run the suite on every server and write its findings."""
    with tempfile.TemporaryDirectory() as folder:
        record = Path(folder) / "findings.json"
        suite = [sys.executable, "-m", "pytest", "-q", "-m", "", "tests/e2e/test_servers.py"]
        subprocess.run(suite, cwd=DOCS.parent, env={**os.environ, "RECORD_FINDINGS": str(record)}, check=True)
        findings = json.loads(record.read_text(encoding="utf-8"))
    document = {
        "date": datetime.now(UTC).date().isoformat(),
        "versions": {name: importlib.metadata.version(name) for name in SERVERS},
        "findings": findings,
    }
    FINDINGS.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1:] == ["--measure"]:
        measure()
    PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8"), read_findings()), encoding="utf-8")
