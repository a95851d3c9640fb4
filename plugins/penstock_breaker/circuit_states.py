"""The states of a circuit, as a table. Nothing else decides which state may follow which.

``CIRCUIT[state][event]`` is the next state; a missing entry is a bug in the breaker, and raises.

- ``closed``: calls pass and are counted.
- ``open``: calls are refused. Only time leads out of this state, and the next call that asks notices it.
- ``half open``: one call passes as a probe, the others are refused. The probe's result decides; a cancelled probe
  decides nothing.
"""

from __future__ import annotations

from typing import Final

CLOSED: Final = "closed"
OPEN: Final = "open"
HALF_OPEN: Final = "half open"


class IllegalCircuitTransition(Exception):
    """A transition that the table does not contain."""


class CircuitRow(dict[str, str]):
    """The events that are possible in one state, each with the state it leads to."""

    def __init__(self, state: str, entries: dict[str, str]) -> None:
        super().__init__(entries)
        self.state = state

    def __missing__(self, event: str) -> str:
        raise IllegalCircuitTransition(f"a circuit that is {self.state} cannot {event}")


CIRCUIT: Final = {
    state: CircuitRow(state, entries)
    for state, entries in {
        CLOSED: {"trip": OPEN},
        OPEN: {"try again": HALF_OPEN},
        HALF_OPEN: {"trip": OPEN, "recover": CLOSED},
    }.items()
}
