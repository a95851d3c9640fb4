"""docs/how-to/openai-clients.md: each snippet runs in the environment of its project, against a real server."""

from __future__ import annotations

import subprocess

import pytest

from tests.clients.judges import Judge, environment_of
from tests.serving import ROOT, Served
from tests.test_docs_blocks import blocks_of

pytestmark = [pytest.mark.e2e, pytest.mark.thorough]
PAGE = ROOT / "docs" / "how-to" / "openai-clients.md"
HELLO = "Hello, world!"
SNIPPETS = [
    (Judge("langchain", "openai2"), [HELLO, f"{HELLO}4"]),
    (Judge("litellm", "openai2"), [HELLO]),
    (Judge("llama_index", "openai2"), [HELLO]),
    (Judge("agents", "agents"), [HELLO]),
]


def test_each_snippet_has_a_test() -> None:
    """One block of the page for each project."""
    assert len(blocks_of(PAGE)) == len(SNIPPETS)


@pytest.mark.parametrize("place", range(len(SNIPPETS)), ids=[judge.program for judge, _ in SNIPPETS])
def test_a_snippet_prints_what_the_model_says(served: Served, place: int) -> None:
    """Pasted into a file, with the address of the server."""
    judge, lines = SNIPPETS[place]
    judge.require_environment()
    snippet = blocks_of(PAGE)[place].replace("http://127.0.0.1:8000", served.base_url)
    ended = subprocess.run(
        [str(judge.python), "-c", snippet],
        env=environment_of(served.base_url),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert (ended.returncode, ended.stdout.split("\n")[: len(lines)]) == (0, lines), ended.stderr
