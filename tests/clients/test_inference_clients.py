"""Programs with clients of the Open Inference Protocol, unmodified, against a real server that speaks it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.clients.judges import FOLDER, Judge, cases_of, faults_of
from tests.serving import Served

pytestmark = pytest.mark.e2e

JUDGES = [
    Judge("tritonclient", "tests"),
    Judge("tritonclient", "mlserver"),
    Judge("mlserver", "mlserver"),
    Judge("kserve", "kserve"),
]


@pytest.fixture(scope="module")
def inferring() -> Iterator[Served]:
    with Served(str(FOLDER / "inferring_app.py")) as served:
        yield served


@pytest.mark.parametrize(("judge", "check"), list(cases_of(JUDGES)))
def test_an_inference_client_is_content(inferring: Served, judge: Judge, check: str) -> None:
    """It reads what it expects, and raises nothing."""
    fault = faults_of(judge, inferring.base_url)[check]
    assert fault is None, fault
