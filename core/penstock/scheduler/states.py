"""The states of jobs, attempts and workers, as tables. Nothing else decides what may follow what.

A table maps a state to what may happen in it, and that to the next state; it begins with the state in which everything
begins. ``TABLE[state][happening]`` is how the scheduler moves; a missing entry is a bug in the scheduler and raises
:class:`IllegalTransition`. The diagrams in the documentation are generated from these tables.

- A job is answered when it enters one of ``FINAL``; it leaves none of them, so it is answered once.
- A job's answer does not free the slot: only the end of the attempt does. That is why the two have tables of their own.
- A job that is ``backing_off`` has failed and waits for its next try: in no queue, and on no worker.
- An attempt that is ``sent`` stands in a busy worker's line; its jobs are still queued, as far as anybody can tell.
- An attempt that is ``stopping`` has nobody waiting for it, and its worker has been asked to interrupt it.
- The intake is whether new work is taken. While it is ``paused`` what is admitted goes on, and the workers stay; there
  is no way back from a drain.
- A worker that was killed is ``dead`` at once, although the process takes a moment; ``dead`` has no way out, and its
  place is taken by another worker.
"""

from __future__ import annotations

from typing import Final

# Plain strings, not an enum: they are hashed on every transition, and they are what the status page shows.
QUEUED: Final = "queued"
RUNNING: Final = "running"
BACKING_OFF: Final = "backing_off"
SUCCEEDED: Final = "succeeded"
FAILED: Final = "failed"
EXPIRED: Final = "expired"
TIMED_OUT: Final = "timed_out"
CANCELLED: Final = "cancelled"

SENT: Final = "sent"
RECALLED: Final = "recalled"
FINISHED: Final = "finished"
STOPPING: Final = "stopping"
STOPPED: Final = "stopped"
LOST: Final = "lost"

STARTING: Final = "starting"
READY: Final = "ready"
BUSY: Final = "busy"
DRAINING: Final = "draining"
DEAD: Final = "dead"

OPEN: Final = "open"
PAUSED: Final = "paused"


class IllegalTransition(Exception):
    """A state was asked for what its table does not have."""


class Row(dict[str, str]):
    """What may happen in one state, and where it leads."""

    def __init__(self, noun: str, state: str, entries: dict[str, str]) -> None:
        super().__init__(entries)
        self.noun = noun
        self.state = state

    def __missing__(self, happening: str) -> str:
        raise IllegalTransition(f"a {self.noun} that is {self.state} cannot {happening}")


def _table(noun: str, rows: dict[str, dict[str, str]]) -> dict[str, Row]:
    return {state: Row(noun, state, entries) for state, entries in rows.items()}


JOB: Final = _table(
    "job",
    {
        QUEUED: {"start": RUNNING, "expire": EXPIRED, "cancel": CANCELLED, "shed": FAILED, "fail": FAILED},
        RUNNING: {
            "succeed": SUCCEEDED,
            "fail": FAILED,
            "expire": TIMED_OUT,
            "cancel": CANCELLED,
            "requeue": QUEUED,  # it has failed, or its worker was lost, and it may run again
            "back off": BACKING_OFF,  # likewise, but not at once
        },
        BACKING_OFF: {"requeue": QUEUED, "fail": FAILED, "expire": TIMED_OUT, "cancel": CANCELLED},
        SUCCEEDED: {},
        FAILED: {},
        EXPIRED: {},  # time ran out while it was queued
        TIMED_OUT: {},  # time ran out while it ran, or was about to run again
        CANCELLED: {},
    },
)
FINAL: Final = frozenset({SUCCEEDED, FAILED, EXPIRED, TIMED_OUT, CANCELLED})

ATTEMPT: Final = _table(
    "attempt",
    {
        SENT: {"start": RUNNING, "recall": RECALLED, "lose": LOST},
        RUNNING: {"finish": FINISHED, "stop": STOPPING, "lose": LOST},
        STOPPING: {"finish": STOPPED, "lose": STOPPED},
        RECALLED: {},  # it was never begun, and its jobs are queued again
        FINISHED: {},  # each of its jobs has a result of its own: success or error
        STOPPED: {},  # nobody waited for it any more; its slot is free
        LOST: {},  # its worker died under it
    },
)

WORKER: Final = _table(
    "worker",
    {
        STARTING: {"be ready": READY, "die": DEAD},
        READY: {"take work": BUSY, "drain": DRAINING, "die": DEAD},
        BUSY: {"fall idle": READY, "drain": DRAINING, "die": DEAD},
        DRAINING: {"fall idle": DRAINING, "drain": DRAINING, "exit": STOPPED, "die": DEAD},
        STOPPED: {},
        DEAD: {},
    },
)

INTAKE: Final = _table(
    "intake",
    {
        OPEN: {"pause": PAUSED, "drain": DRAINING},
        PAUSED: {"resume": OPEN, "drain": DRAINING},
        DRAINING: {},
    },
)
