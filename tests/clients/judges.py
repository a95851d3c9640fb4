"""The programs that judge the dialects, and the environments that they run in."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.serving import ROOT

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

    def require_environment(self) -> None:
        if not self.python.exists():
            pytest.skip(f"{self.python} does not exist; `make test-clients` creates it")

    @property
    def checks(self) -> list[str]:
        parsed = ast.parse(self.path.read_text(encoding="utf-8"))
        functions = [each for each in parsed.body if isinstance(each, (ast.FunctionDef, ast.AsyncFunctionDef))]
        return [each.name for each in functions if each.name.startswith("check_")]


@cache
def faults_of(judge: Judge, url: str, key: str = "sk-none") -> dict[str, str | None]:
    """Run the program, and return what each of its checks has found wrong. It sends the key, if it has a way to."""
    judge.require_environment()
    command = [str(judge.python), str(judge.path)]
    ended = subprocess.run(
        command, env=environment_of(url, key), capture_output=True, text=True, timeout=100, check=False
    )
    lines = [json.loads(line) for line in ended.stdout.splitlines() if line.startswith('{"check"')]
    assert ended.returncode == 0, ended.stderr
    return {line["check"]: line["fault"] for line in lines}


def cases_of(judges: Sequence[Judge]) -> Iterator[object]:
    """Yield the parameters of a test for each check of the programs: a judge, and the name of the check."""
    for judge in judges:
        marks = [] if judge.environment == "tests" else [pytest.mark.thorough]
        for check in judge.checks:
            yield pytest.param(judge, check, id=f"{judge.program}-{judge.environment}-{check[6:]}", marks=marks)


def environment_of(url: str, key: str = "sk-none") -> dict[str, str]:
    """Return the variables for a program that talks to this server, and to no other."""
    # By default, some of these clients send traces to their makers, or ask for a newer list of prices.
    quiet = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LANGSMITH_TRACING": "false", "OPENAI_AGENTS_DISABLE_TRACING": "1"}
    return {**os.environ, **quiet, "JUDGED_URL": url, "JUDGED_KEY": key}
