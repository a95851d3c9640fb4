"""Programs written with the clients of other projects, unmodified, against a real server that speaks their protocols.

Each program runs in an environment that has its client, and not Penstock: ``make test-clients`` creates these. Those
with the client in the environment of the tests are part of ``make test``.
"""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.serving import ROOT, Served

pytestmark = pytest.mark.e2e
FOLDER = Path(__file__).parent


class Judge(NamedTuple):
    """A program, and the environment that it runs in; ``tests`` is that of the tests."""

    program: str
    environment: str

    @property
    def path(self) -> Path:
        return FOLDER / f"{self.program}_program.py"

    @property
    def python(self) -> Path:
        if self.environment == "tests":
            return Path(sys.executable)
        return ROOT / f".venv-{self.environment}" / "bin" / "python"

    @property
    def checks(self) -> list[str]:
        parsed = ast.parse(self.path.read_text(encoding="utf-8"))
        functions = [each for each in parsed.body if isinstance(each, (ast.FunctionDef, ast.AsyncFunctionDef))]
        return [each.name for each in functions if each.name.startswith("check_")]


JUDGES = [
    Judge("openai", "tests"),
    Judge("anthropic", "tests"),
    Judge("openai", "openai2"),
    Judge("langchain", "openai2"),
    Judge("litellm", "openai2"),
    Judge("llama_index", "openai2"),
    Judge("agents", "agents"),
]


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with Served(str(FOLDER / "judged_app.py")) as served:
        yield served


@cache
def _faults(judge: Judge, url: str) -> dict[str, str | None]:
    """Run the program, and return what each of its checks has found wrong."""
    if not judge.python.exists():
        pytest.skip(f"{judge.python} does not exist; `make test-clients` creates it")
    # By default, some of these clients send traces to their makers, or ask for a newer list of prices.
    quiet = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LANGSMITH_TRACING": "false", "OPENAI_AGENTS_DISABLE_TRACING": "1"}
    environment = {**os.environ, **quiet, "JUDGED_URL": url}
    command = [str(judge.python), str(judge.path)]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100, check=False)
    lines = [json.loads(line) for line in ended.stdout.splitlines() if line.startswith('{"check"')]
    assert ended.returncode == 0, ended.stderr
    return {line["check"]: line["fault"] for line in lines}


def _cases() -> Iterator[object]:
    for judge in JUDGES:
        marks = [] if judge.environment == "tests" else [pytest.mark.thorough]
        for check in judge.checks:
            yield pytest.param(judge, check, id=f"{judge.program}-{judge.environment}-{check[6:]}", marks=marks)


@pytest.mark.parametrize(("judge", "check"), list(_cases()))
def test_a_client_is_content(served: Served, judge: Judge, check: str) -> None:
    """It reads what it expects, and raises nothing."""
    fault = _faults(judge, served.base_url)[check]
    assert fault is None, fault
