"""An app that takes and returns large bodies, and does nothing with them."""

from __future__ import annotations

from penstock import App

app = App(__name__)


@app.endpoint("/raw")
def raw(body: bytes) -> int:
    return len(body)


@app.endpoint("/blank")
def blank(size: int) -> bytes:
    return bytes(size)
