"""Served by test_signals.py: work that ends when a mark appears in a folder, or never."""

from __future__ import annotations

import time
from collections.abc import Iterator

from penstock import App, Timeouts
from tests.e2e.apps.marks import mark, wait_for_marks

app = App(__name__)


@app.endpoint("/quick", pool="quick")
def quick() -> int:
    return 1


@app.endpoint("/hold", pool="held")
def hold(name: str) -> str:
    """Run until the mark "release" appears."""
    mark(f"started-{name}")
    wait_for_marks("release")
    return name


@app.endpoint("/stream", pool="streamed")
def stream() -> Iterator[int]:
    mark("started-stream")
    yield 1
    wait_for_marks("release")
    yield 2


@app.endpoint("/sleep", pool="sleeping")
def sleep() -> None:
    mark("started-sleep")
    try:
        time.sleep(60)
    finally:
        mark("interrupted-sleep")


@app.endpoint("/stuck", pool="stuck", timeouts=Timeouts(grace=0.3))
def stuck() -> None:
    mark("started-stuck")
    while True:
        try:
            time.sleep(60)
        except BaseException:
            continue


@app.endpoint("/model", pool="model")
class Model:
    def predict(self) -> int:
        return 1

    def teardown(self) -> None:
        mark("torn-down")
