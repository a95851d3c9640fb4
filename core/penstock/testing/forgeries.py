"""Forged reports: what a worker sends whose user code writes to the socket itself."""

from __future__ import annotations

import math
import random
from typing import Any

from penstock.errors import HandlerError
from penstock.response import Encoded
from penstock.scheduler import Attempt, Scheduler
from penstock.scheduler import events as on
from penstock.scheduler.states import SENT, STARTING

_RESULT = Encoded(b"forged")


def forged_report(dice: random.Random, scheduler: Scheduler, worker: int) -> on.Event:
    """Draw a report that this worker cannot truthfully make now."""
    state = scheduler.workers[worker].state
    if dice.random() < 0.1:
        return on.SetupFinished(worker, math.nan if state is STARTING else 0.0)
    attempts = list(scheduler.attempts.values())
    if not attempts or dice.random() < 0.1:
        number = dice.choice((0, -1, 1 << 40, 2**64 - 1))
        return dice.choice((on.ResultsArrived(number, 0.0, [_RESULT]), on.ChunksArrived(number, 1)))
    attempt = dice.choice(attempts)
    if attempt.worker.id != worker:
        results: list[Any] = dice.choice(([_RESULT], [on.NOT_BEGUN], [HandlerError("forged")])) * len(attempt.jobs)
        return dice.choice((on.ResultsArrived(attempt.id, 0.0, results), on.ChunksArrived(attempt.id, 1)))
    if not attempt.lane.is_stream and dice.random() < 0.2:
        return on.ChunksArrived(attempt.id, 1)
    return on.ResultsArrived(attempt.id, *dice.choice(_unfit_ends(attempt)))


def _unfit_ends(attempt: Attempt) -> list[tuple[float, list[Any]]]:
    """Return ends that do not fit an attempt which the worker does hold: its seconds and its results."""
    count = len(attempt.jobs)
    ends: list[tuple[float, list[Any]]] = [
        (0.0, []),
        (0.0, [_RESULT] * (count + 1)),
        (math.nan, [_RESULT] * count),
        (-1.0, [_RESULT] * count),
        (0.0, [on.NOT_BEGUN] * (count + 1)),
        (0.0, [_RESULT, on.NOT_BEGUN]),
    ]
    if attempt.state is SENT:
        ends.append((0.0, [_RESULT] * count))
    elif attempt.id > attempt.worker.recalled:
        ends.append((0.0, [on.NOT_BEGUN] * count))
    return ends
