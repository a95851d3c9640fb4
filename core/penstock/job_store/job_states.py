"""The states of a stored job, and the steps between them, as a table: a step that it lacks is an error."""

from __future__ import annotations

from types import MappingProxyType
from typing import Final, Literal, TypeAlias

JobState: TypeAlias = Literal["queued", "running", "succeeded", "failed", "timed_out", "cancelled", "expired"]
FinalState: TypeAlias = Literal["succeeded", "failed", "timed_out", "cancelled", "expired"]

STEPS: Final = MappingProxyType(
    {
        # From its acceptance, or its return, until an engine claims it. ``expired`` if its start deadline passes first.
        "queued": ("running", "cancelled", "expired"),
        # An engine holds it. Back to ``queued`` if the engine returns it, dies, or asks for another run later.
        "running": ("queued", "succeeded", "failed", "timed_out", "cancelled"),
        # A final row never changes, but for the removal of its bodies and of itself.
        "succeeded": (),
        "failed": (),
        "timed_out": (),
        "cancelled": (),
        "expired": (),
    }
)
FINAL: Final = frozenset(state for state, following in STEPS.items() if not following)
