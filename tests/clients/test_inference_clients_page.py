"""docs/how-to/inference-clients.md: each snippet runs in the environment of its project, against a real server."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from tests.clients.judges import FOLDER, Judge, environment_of
from tests.serving import HOST, ROOT, Served
from tests.test_docs_blocks import blocks_of

pytestmark = pytest.mark.e2e
PAGE = ROOT / "docs" / "how-to" / "inference-clients.md"
SNIPPETS = [
    (Judge("tritonclient", "tests"), "[0 3]"),
    (Judge("tritonclient", "tests"), "[0, 0, 0]"),
    (Judge("kserve", "kserve"), "[0]"),
    (Judge("mlserver", "mlserver"), "[0 3]"),
]


@pytest.fixture(scope="module")
def inferring() -> Iterator[Served]:
    with Served(str(FOLDER / "inferring_app.py")) as served:
        yield served


def test_each_snippet_of_the_page_has_a_test() -> None:
    """One block of the page for each of them."""
    assert len(blocks_of(PAGE)) == len(SNIPPETS)


def cases() -> Iterator[object]:
    for place, (judge, _) in enumerate(SNIPPETS):
        marks = [] if judge.environment == "tests" else [pytest.mark.thorough]
        yield pytest.param(place, id=f"{place}-{judge.program}", marks=marks)


@pytest.mark.parametrize("place", list(cases()))
def test_a_snippet_prints_what_the_model_returns(inferring: Served, place: int) -> None:
    """Pasted into a file, with the address of the server."""
    judge, line = SNIPPETS[place]
    judge.require_environment()
    snippet = blocks_of(PAGE)[place].replace("127.0.0.1:8000", f"{HOST}:{inferring.port}")
    ended = subprocess.run(
        [str(judge.python), "-c", snippet],
        env=environment_of(inferring.base_url),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert (ended.returncode, ended.stdout.splitlines()) == (0, [line]), ended.stderr
