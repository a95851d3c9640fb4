"""The server that is judged."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.clients.judges import FOLDER
from tests.serving import Served


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with Served(str(FOLDER / "judged_app.py")) as served:
        yield served
