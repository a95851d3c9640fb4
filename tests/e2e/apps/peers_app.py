"""Endpoints for clients that send or read too slowly."""

from __future__ import annotations

from collections.abc import Iterator

from penstock import App, Timeouts

app = App(__name__)
MIB = 1 << 20


@app.endpoint("/size")
def size(body: bytes) -> int:
    return len(body)


@app.endpoint("/square")
def square(input: float) -> float:
    return input**2


@app.endpoint("/blob", timeouts=Timeouts(idle=0.5))
def blob(n: int) -> str:
    return "x" * (n * MIB)


@app.endpoint("/patient_blob")
def patient_blob(n: int) -> str:
    return "x" * (n * MIB)


@app.endpoint("/patient_flood")
def patient_flood(n: int) -> Iterator[str]:
    yield from flood(n)


@app.endpoint("/flood", timeouts=Timeouts(idle=0.5))
def flood(n: int) -> Iterator[str]:
    for _ in range(n * 16):
        yield "x" * (MIB // 16)
