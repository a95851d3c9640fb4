"""All cases, in the order of the page."""

from __future__ import annotations

from cases import (
    batching,
    bodies,
    chat,
    crashes,
    embedded,
    hangups,
    inferences,
    noop,
    overload,
    plugins,
    queued,
    shutdown,
    startup,
    streams,
    stuck,
    tensors,
)
from harness import Case

MODULES = [
    *(noop, bodies, streams, chat, inferences, tensors, batching, overload, stuck, hangups),
    *(crashes, shutdown, startup, plugins, queued, embedded),
]
CASES: dict[str, Case] = {module.CASE.name: module.CASE for module in MODULES}
