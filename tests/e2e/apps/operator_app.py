"""Served by test_operator.py: a model that prints, fails, overstays or dies on request."""

from __future__ import annotations

import logging
import os
import sys
import time

from penstock import App, Timeouts

app = App(__name__)
print("printed while it was imported")
logging.getLogger("operator_app").warning("logged while it was imported")

SHORT = Timeouts(execution=0.3, grace=0.3)


@app.endpoint("/echo")
def echo(value: int) -> int:
    return value


@app.endpoint("/hold", pool="held")
def hold(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


@app.endpoint("/say")
def say(text: str, end: str = "\n", times: int = 1) -> int:
    for _ in range(times):
        print(text, end=end, flush=True)
    return times


@app.endpoint("/say-bytes")
def say_bytes(body: bytes) -> int:
    return os.write(1, body)


@app.endpoint("/log")
def log(text: str) -> None:
    logging.getLogger("operator_app").warning("logged: %s", text)
    sys.stderr.write("on stderr\n")
    os.system("echo from a child")


@app.endpoint("/fail")
def fail(text: str) -> None:
    try:
        _inner(text)
    except KeyError as error:
        raise ValueError(text) from error


def _inner(text: str) -> None:
    raise KeyError(text)


@app.endpoint("/wrong-answer")
def wrong_answer() -> None:
    """Raise inside a function of Penstock."""
    app.endpoint("no-slash")(echo)


@app.endpoint("/sleep", timeouts=SHORT)
def sleep() -> None:
    time.sleep(30)


@app.endpoint("/stuck", timeouts=SHORT)
def stuck() -> None:
    while True:
        try:
            time.sleep(30)
        except BaseException:
            continue


@app.endpoint("/die", pool="mortal", idempotent=False)
def die() -> None:
    os._exit(7)
