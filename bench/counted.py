"""The app whose requests ``bench/instructions.py`` counts. Its handlers do next to nothing."""

from __future__ import annotations

from collections.abc import Iterator

from penstock import App, Batching, InvalidRequest

BATCH_SIZE = 8

app = App(__name__)


@app.endpoint("/square")
def square(input: float) -> float:
    """Return the square, at next to no cost."""
    return input**2


@app.endpoint("/squares", batching=Batching(max_size=BATCH_SIZE))
def squares(inputs: list[float]) -> list[float]:
    """Return the squares of a batch."""
    return [value**2 for value in inputs]


@app.endpoint("/count")
def count(n: int) -> Iterator[dict[str, int]]:
    """Stream ``n`` chunks as fast as possible."""
    for i in range(n):
        yield {"token": i}


@app.endpoint("/refuse")
def refuse(input: float) -> float:
    """Refuse each input: it fits the schema, but not the model."""
    raise InvalidRequest(f"{input} is not an input of this model")


@app.endpoint("/full", workers=1, max_queue=1, idempotent=False)
def full(input: float) -> float:
    """Never run: its worker is kept from answering, so that its queue stays full."""
    return input
