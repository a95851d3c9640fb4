"""The states of jobs, attempts, workers and the intake, as tables: the only place that decides what may follow what.

A table maps each state to the happenings that are legal in it, and each happening to the next state; its first row is
the initial state. The scheduler makes every transition by ``TABLE[state][happening]``; a missing entry is a bug in the
scheduler and raises :class:`IllegalTransition`. The diagrams in the documentation are generated from these tables.

- A job is answered when it enters one of ``FINAL``; it leaves none of them, so it is answered exactly once.
- Answering a job does not free its slot: only the end of the attempt does. That is why they have separate tables.
- A job that is ``backing_off`` has failed and waits for its next try, in no queue and on no worker.
- An attempt that is ``sent`` waits in a busy worker's line; its jobs still count as queued.
- An attempt that is ``streaming`` has announced that it answers in chunks; only then may it send any.
- An attempt that is ``stopping`` has no caller left, and its worker has been asked to interrupt it.
- The intake says whether new work is accepted. While it is ``paused``, admitted jobs go on and the workers stay; there
  is no way back from ``draining``.
- A worker whose models are set up is on ``standby`` until its pool needs it: most often for no time at all, but a spare
  may wait there for days.
- A worker that is ``draining`` gets no more work; what it has begun, it may finish.
- A worker that was killed is ``dead`` at once, although the process takes a moment to exit; ``dead`` has no way out,
  and another worker takes the worker's place.
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
STREAMING: Final = "streaming"
RECALLED: Final = "recalled"
FINISHED: Final = "finished"
STOPPING: Final = "stopping"
STOPPED: Final = "stopped"
LOST: Final = "lost"

STARTING: Final = "starting"
STANDBY: Final = "standby"
READY: Final = "ready"
BUSY: Final = "busy"
DRAINING: Final = "draining"
DEAD: Final = "dead"

OPEN: Final = "open"
PAUSED: Final = "paused"


class IllegalTransition(Exception):
    """A happening is not in the table of its state."""


class Row(dict[str, str]):
    """The happenings that are legal in one state, each with the next state."""

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
            "requeue": QUEUED,  # it has failed, or its worker was lost, and it may run again at once
            "back off": BACKING_OFF,  # the same, after a delay
        },
        BACKING_OFF: {"requeue": QUEUED, "fail": FAILED, "expire": TIMED_OUT, "cancel": CANCELLED},
        SUCCEEDED: {},
        FAILED: {},
        EXPIRED: {},  # time ran out while it was queued
        TIMED_OUT: {},  # time ran out while it ran, or before it ran again
        CANCELLED: {},
    },
)
FINAL: Final = frozenset({SUCCEEDED, FAILED, EXPIRED, TIMED_OUT, CANCELLED})

ATTEMPT: Final = _table(
    "attempt",
    {
        SENT: {"start": RUNNING, "recall": RECALLED, "lose": LOST},
        RUNNING: {"stream": STREAMING, "finish": FINISHED, "stop": STOPPING, "lose": LOST},
        STREAMING: {"finish": FINISHED, "stop": STOPPING, "lose": LOST},
        STOPPING: {"finish": STOPPED, "lose": STOPPED},
        RECALLED: {},  # it was never begun, and its jobs are queued again
        FINISHED: {},  # each of its jobs has a result of its own: success or error
        STOPPED: {},  # no caller waited for it; its slot is free
        LOST: {},  # its worker died
    },
)

WORKER: Final = _table(
    "worker",
    {
        STARTING: {"be ready": STANDBY, "die": DEAD},
        STANDBY: {"take over": READY, "drain": DRAINING, "die": DEAD},
        READY: {"take work": BUSY, "drain": DRAINING, "die": DEAD},
        BUSY: {"fall idle": READY, "drain": DRAINING, "die": DEAD},
        DRAINING: {
            "take work": DRAINING,  # it had begun this in its line, and was asked too late to give it back
            "fall idle": DRAINING,
            "drain": DRAINING,
            "exit": STOPPED,
            "die": DEAD,
        },
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
