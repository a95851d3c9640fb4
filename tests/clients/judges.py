"""The programs that judge the dialects, and the environments that they run in."""

from __future__ import annotations

import ast
import os
import sys
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


def environment_of(url: str) -> dict[str, str]:
    """Return the variables for a program that talks to this server, and to no other."""
    # By default, some of these clients send traces to their makers, or ask for a newer list of prices.
    quiet = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LANGSMITH_TRACING": "false", "OPENAI_AGENTS_DISABLE_TRACING": "1"}
    return {**os.environ, **quiet, "JUDGED_URL": url}
