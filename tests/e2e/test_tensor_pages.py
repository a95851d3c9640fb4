"""The pages about tensors and the Open Inference Protocol: each command, with its output as it is printed."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.serving import ROOT, Served, write_app
from tests.test_docs_blocks import blocks_of

pytestmark = [pytest.mark.e2e, pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")]

CONSOLE = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", re.MULTILINE)


@pytest.fixture(scope="module", params=["tensors", "inference-protocol"])
def page(request: pytest.FixtureRequest) -> Path:
    return ROOT / "docs" / "how-to" / f"{request.param}.md"


@pytest.fixture(scope="module")
def served(page: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with Served(write_app(tmp_path_factory.mktemp("page"), "\n\n".join(blocks_of(page)))) as served:
        yield served


def test_each_command_prints_what_the_page_says(page: Path, served: Served, tmp_path: Path) -> None:
    """An ellipsis in the output stands for anything."""
    commands = [
        found for block in CONSOLE.findall(page.read_text(encoding="utf-8")) for found in COMMAND.findall(block)
    ]
    assert len(commands) > 2
    for command, output in commands:
        here = command.replace("localhost:8000", f"{served.host}:{served.port}").replace(
            "python ", f"{sys.executable} "
        )
        ran = subprocess.run(here, shell=True, cwd=tmp_path, capture_output=True, text=True, timeout=30, check=True)
        pattern = ".*".join(map(re.escape, output.rstrip("\n").split("...")))
        assert re.fullmatch(pattern, ran.stdout.rstrip("\n")), (command, ran.stdout)
