"""Endpoints for callers that send requests too often."""

from __future__ import annotations

import time

from penstock import App

app = App(__name__)


@app.endpoint("/square")
def square(input: float) -> float:
    return input**2


@app.endpoint("/sleep", workers=3)
def sleep(seconds: float) -> str:
    time.sleep(seconds)
    return "slept"
