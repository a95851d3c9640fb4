"""Programs written with the clients of other projects, unmodified, against a real server that speaks their protocols.

Each program runs in an environment that has its client, and not Penstock: ``make test-clients`` creates these. Those
with the client in the environment of the tests are part of ``make test``.
"""

from __future__ import annotations

import pytest

from tests.clients.judges import Judge, cases_of, faults_of
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


@pytest.mark.parametrize(("judge", "check"), list(cases_of(JUDGES)))
def test_a_client_is_content(served: Served, judge: Judge, check: str) -> None:
    """It reads what it expects, and raises nothing."""
    fault = faults_of(judge, served.base_url)[check]
    assert fault is None, fault
