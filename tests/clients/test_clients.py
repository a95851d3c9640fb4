"""Programs written with the clients of other projects, unmodified, against a real server that speaks their protocols.

Each program runs in an environment that has its client, and not Penstock: ``make test-clients`` creates these. Those
with the client in the environment of the tests are part of ``make test``.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from functools import cache

import pytest

from tests.clients.judges import Judge, environment_of
from tests.serving import Served

pytestmark = pytest.mark.e2e

JUDGES = [
    Judge("openai", "tests"),
    Judge("anthropic", "tests"),
    Judge("openai", "openai2"),
    Judge("langchain", "openai2"),
    Judge("litellm", "openai2"),
    Judge("llama_index", "openai2"),
    Judge("agents", "agents"),
    Judge("mcp1", "mcp1"),
    Judge("mcp2", "mcp2"),
    Judge("fastmcp", "mcp2"),
]


@cache
def _faults(judge: Judge, url: str) -> dict[str, str | None]:
    """Run the program, and return what each of its checks has found wrong."""
    judge.require_environment()
    command = [str(judge.python), str(judge.path)]
    ended = subprocess.run(command, env=environment_of(url), capture_output=True, text=True, timeout=100, check=False)
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
