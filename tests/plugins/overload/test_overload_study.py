"""A small version of the study of queue disciplines: the reasons for the default still hold."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from bench.overload_cells import Cell, simulate
from penstock_overload import Adaptive, CoDel, EarliestDeadlineFirst, Fifo, Lifo

SECONDS = 20.0


@pytest.mark.parametrize(("load", "goodput"), [(2.0, 0.97), (10.0, 0.95)])
def test_the_default_keeps_its_goodput_in_an_overload(load: float, goodput: float) -> None:
    """From a cold start, without deadlines, callers leave after 1 s: nearly all of the capacity is used, and soon."""
    outcome = simulate(Cell(load=load, patience=1.0, seconds=SECONDS), Adaptive)
    assert outcome.goodput >= goodput
    assert outcome.p99 < 0.5
    assert outcome.wasted < 0.02


def test_the_first_come_first_served_do_not() -> None:
    """With the oldest first, most of the work is for callers that have left."""
    outcome = simulate(Cell(load=10.0, patience=1.0, seconds=SECONDS), Fifo)
    assert outcome.goodput < 0.2
    assert outcome.wasted > 0.8


@pytest.mark.parametrize("has_deadlines", [False, True])
@pytest.mark.parametrize("service", ["constant", "heavy"])
def test_the_default_is_never_much_worse_than_the_best(service: str, *, has_deadlines: bool) -> None:
    """In no cell is it behind the best discipline by more than a tenth of the machine's capacity."""
    for load in (0.8, 1.0, 2.0):
        for patience in (0.2, 1.0):
            cell = Cell(
                load=load, patience=patience, service=service, has_deadlines=has_deadlines, seconds=SECONDS, seed=3
            )
            useful = {
                kind: simulate(cell, kind).useful for kind in (Fifo, Lifo, EarliestDeadlineFirst, CoDel, Adaptive)
            }
            assert useful[Adaptive] >= max(useful.values()) - 0.1, cell


def mixed(dice: random.Random) -> float:
    return 0.2 if dice.random() < 0.5 else 5.0


def exponential(dice: random.Random) -> float:
    return dice.expovariate(1.0)


@pytest.mark.parametrize("patience", [mixed, exponential])
def test_callers_of_mixed_patience_do_not_harm_each_other(patience: Callable[[random.Random], float]) -> None:
    """Impatient callers do not count against patient ones: no worse than the newest first throughout."""
    for load in (0.8, 1.0, 1.2):
        cell = Cell(load=load, patience=patience, seconds=60.0)
        assert simulate(cell, Adaptive).goodput >= simulate(cell, Lifo).goodput - 0.03, cell


def test_nobody_is_shed_where_nobody_hangs_up() -> None:
    """However long they wait: the worker does all that it can, and refused jobs have waited their 30 s."""
    outcome = simulate(Cell(load=0.95, patience=1e6, seconds=60.0), Adaptive)
    assert outcome.refused == 0.0
    assert outcome.goodput > 0.9
