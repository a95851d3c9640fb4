"""An app for the tests of several HTTP processes: it says where it runs, waits, and streams."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

from penstock import App
from tests.e2e.apps.marks import mark

app = App(__name__)


def begin(name: str) -> None:
    """Leave a mark for each attempt."""
    mark(f"{name}.{time.monotonic_ns()}")


@app.endpoint("/square", workers=1)
class Square:
    """One model, whose set-ups are counted."""

    def setup(self) -> None:
        """Leave a mark for each worker."""
        begin("setup")

    def predict(self, input: float) -> float:
        """Return the square."""
        return input**2


@app.endpoint("/wait", workers=2)
def wait(name: str, seconds: float) -> int:
    """Wait, and return the worker's process."""
    begin(name)
    time.sleep(seconds)
    return os.getpid()


@app.endpoint("/once", idempotent=False, pool="wait")
def once(name: str, seconds: float) -> int:
    """Do the same, but not twice."""
    begin(name)
    time.sleep(seconds)
    return os.getpid()


@app.endpoint("/tick", workers=1)
def tick(n: int, seconds: float) -> Iterator[int]:
    """Stream numbers."""
    for number in range(n):
        yield number
        time.sleep(seconds)
