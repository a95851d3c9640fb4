"""Forged reports: what a worker sends whose user code writes to the socket itself."""

from __future__ import annotations

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
    if state is not STARTING and dice.random() < 0.1:
        return on.SetupFinished(worker, 0.0)
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
    return on.ResultsArrived(attempt.id, 0.0, dice.choice(_unfit_results(attempt)))


def _unfit_results(attempt: Attempt) -> list[list[Any]]:
    """Return results that do not fit an attempt which the worker does hold."""
    count = len(attempt.jobs)
    unfit: list[list[Any]] = [[], [_RESULT] * (count + 1), [on.NOT_BEGUN] * (count + 1), [_RESULT, on.NOT_BEGUN]]
    if attempt.state is SENT:
        unfit.append([_RESULT] * count)
    elif attempt.id > attempt.worker.recalled:
        unfit.append([on.NOT_BEGUN] * count)
    return unfit
