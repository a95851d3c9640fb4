"""The page about Anthropic's clients: what it shows works as it is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.serving import ROOT, Served
from tests.test_docs_blocks import blocks_of

pytestmark = pytest.mark.e2e

PAGE = ROOT / "docs" / "how-to" / "anthropic.md"
ADDRESS = "http://127.0.0.1:8000"


def test_the_client_of_the_page_uses_the_app_of_the_page(tmp_path: Path) -> None:
    """The first block is served, and the second one runs against it."""
    app, program = blocks_of(PAGE)
    target = tmp_path / "parrot.py"
    target.write_text(app, encoding="utf-8")
    assert ADDRESS in program
    with Served(target) as served:
        command = [sys.executable, "-c", program.replace(ADDRESS, served.base_url)]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "text='Hello, parrot '" in ran.stdout
    assert ran.stdout.endswith("Say it again 3\n")
