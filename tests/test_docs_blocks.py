"""Every block of Python in README.md and docs/ runs, each page from its first block to its last."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.serving import ROOT

# The app that the pages about embedding and mounting import.
WORDS = """
from collections.abc import Iterator

from penstock import App

app = App(__name__)


@app.endpoint("/mood")
def mood(text: str) -> str:
    return "good"


@app.endpoint("/spell")
def spell(word: str) -> Iterator[str]:
    yield from word
"""
# The blocks of hooks.md are signatures and plug-ins; tests/test_docs_hooks.py runs the plug-ins. Those of
# client-tutorial.md, anthropic.md and grpc.md need a server; tests/client/test_tutorial_page.py,
# tests/e2e/test_anthropic_page.py and tests/e2e/test_grpc_page.py run them. Those of openai-clients.md,
# inference-clients.md and mcp.md need other environments, too; the tests of these pages in tests/clients run them.
OTHER_ENVIRONMENTS = {"openai-clients.md", "inference-clients.md", "mcp.md"}
ELSEWHERE = {"hooks.md", "client-tutorial.md", "anthropic.md", "grpc.md", *OTHER_ENVIRONMENTS}
PAGES = [page for page in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))) if page.name not in ELSEWHERE]


def blocks_of(page: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def generate_client(folder: Path) -> None:
    command = [sys.executable, "-m", "penstock_cli", "client", "words.py:app", "-o", "words_client.py"]
    subprocess.run(command, cwd=folder, check=True, timeout=60)


@pytest.mark.parametrize("page", [page for page in PAGES if blocks_of(page)], ids=lambda page: page.stem)
def test_the_blocks_of_a_page_run(page: Path, tmp_path: Path) -> None:
    """A reader may paste them, one after the other, into a file beside the app."""
    (tmp_path / "words.py").write_text(WORDS, encoding="utf-8")
    if page.stem == "typed-client":
        generate_client(tmp_path)
    (tmp_path / "pasted.py").write_text("\n\n".join(blocks_of(page)), encoding="utf-8")
    ran = subprocess.run(
        [sys.executable, "pasted.py"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert (ran.returncode, ran.stderr) == (0, "")
