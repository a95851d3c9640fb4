"""Forged reports: what a worker sends whose user code writes to the socket itself."""

from __future__ import annotations

import random
from typing import Any

from penstock.errors import HandlerError
from penstock.response import Encoded
from penstock.scheduler import Attempt, Scheduler
from penstock.scheduler import events as on
from penstock.scheduler.states import RUNNING, SENT, STARTING, STREAMING

_RESULT = Encoded(b"forged")


def forged_report(dice: random.Random, scheduler: Scheduler, worker: int) -> on.Event:
    """Draw a report that this worker cannot truthfully make now."""
    state = scheduler.workers[worker].state
    if state is not STARTING and dice.random() < 0.1:
        return on.SetupFinished(worker, 0.0)
    attempts = list(scheduler.attempts.values())
    if not attempts or dice.random() < 0.1:
        number = dice.choice((0, -1, 1 << 40, 2**64 - 1))
        return dice.choice((on.ResultsArrived(number, 0.0, [_RESULT]), *_pieces(number)))
    attempt = dice.choice(attempts)
    if attempt.worker.id != worker:
        results: list[Any] = dice.choice(([_RESULT], [on.NOT_BEGUN], [HandlerError("forged")])) * len(attempt.jobs)
        return dice.choice((on.ResultsArrived(attempt.id, 0.0, results), *_pieces(attempt.id)))
    unfit = _unfit_pieces(attempt) if dice.random() < 0.3 else []
    return dice.choice(unfit or [on.ResultsArrived(attempt.id, 0.0, results) for results in _unfit_results(attempt)])


def _pieces(attempt: int) -> tuple[on.StreamBegan, on.ChunksArrived]:
    """Return the reports of which a stream consists."""
    return on.StreamBegan(attempt, _RESULT), on.ChunksArrived(attempt, 1)


def _unfit_pieces(attempt: Attempt) -> list[on.Event]:
    """Return pieces of a stream that do not fit an attempt which the worker does hold."""
    head, chunk = _pieces(attempt.id)
    unfit: list[on.Event] = []
    if attempt.state in (SENT, RUNNING):
        unfit.append(chunk)
    if attempt.state in (SENT, STREAMING) or attempt.lane.batching is not None:
        unfit.append(head)
    return unfit


def _unfit_results(attempt: Attempt) -> list[list[Any]]:
    """Return results that do not fit an attempt which the worker does hold."""
    count = len(attempt.jobs)
    unfit: list[list[Any]] = [[], [_RESULT] * (count + 1), [on.NOT_BEGUN] * (count + 1), [_RESULT, on.NOT_BEGUN]]
    if attempt.state is SENT:
        unfit.append([_RESULT] * count)
    elif attempt.id > attempt.worker.recalled:
        unfit.append([on.NOT_BEGUN] * count)
    return unfit
