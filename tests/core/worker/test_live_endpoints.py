"""Endpoints in a worker: what they keep of a job while its handler runs."""

from __future__ import annotations

import math
from typing import Any

from penstock import App
from penstock.wire import InputForm, Run, Work
from penstock.worker.attempts import Invocation, LiveEndpoint


def decode_text(body: bytes) -> bytes:
    return b'{"size": %d}' % len(body)


class NoOutlet:
    """An outlet for a handler that reports nothing."""

    def send(self, message: Any) -> None:
        raise AssertionError("nothing is sent")


def test_a_decoded_body_is_not_kept() -> None:
    """A decoder of a dialect copies what the handler gets, so that a large body would only take memory."""
    app = App("it")
    work = Work(b"x" * 1000, None, InputForm("", decoder=f"{__name__}:decode_text"))
    seen = []

    @app.endpoint("/size")
    def size(size: int) -> int:
        seen.append(work.body)
        return size

    live = LiveEndpoint(app.endpoints[0], size)
    outlet: Any = NoOutlet()
    invocation = Invocation(Run(1, "size", math.inf, [work]), live, lambda: False, outlet)
    assert live.start(invocation) == 1000
    assert seen == [b""]
