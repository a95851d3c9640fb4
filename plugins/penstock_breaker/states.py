"""The states of a circuit, as a table. Nothing else decides what may follow what.

``CIRCUIT[state][happening]`` is the next state; a missing entry is a bug in the breaker, and raises.

- ``closed``: calls pass and are counted.
- ``open``: calls are refused. Only time leads out of it, and that is noticed by the next call that asks.
- ``half open``: one call passes as a probe, the others are refused. Its result decides; a cancelled one says nothing.
"""

from __future__ import annotations

from typing import Final

CLOSED: Final = "closed"
OPEN: Final = "open"
HALF_OPEN: Final = "half open"


class IllegalTransition(Exception):
    """A circuit was asked for what its table does not have."""


class Row(dict[str, str]):
    """What may happen in one state, and where it leads."""

    def __init__(self, state: str, entries: dict[str, str]) -> None:
        super().__init__(entries)
        self.state = state

    def __missing__(self, happening: str) -> str:
        raise IllegalTransition(f"a circuit that is {self.state} cannot {happening}")


CIRCUIT: Final = {
    state: Row(state, entries)
    for state, entries in {
        CLOSED: {"trip": OPEN},
        OPEN: {"try again": HALF_OPEN},
        HALF_OPEN: {"trip": OPEN, "recover": CLOSED},
    }.items()
}
