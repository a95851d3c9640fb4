"""Run the cases of the benchmark: rounds in turns, a fresh server for each, everything bounded, nothing left behind."""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from contenders import Contender
from servers import NotReadyError, Options, Server, started

Figures = dict[str, float | str]
"""The results of one round: a number, or words that say what happened instead."""
FAILED = "why"
"""The key of the words that say why a round has no figures."""


@dataclass(frozen=True, kw_only=True)
class Pace:
    """The length of a run.

    Parameters
    ----------
    rounds:
        The number of rounds; the tables have their medians.
    seconds:
        The length of one measurement, whole seconds since wrk takes no others.
    """

    rounds: int = 5
    seconds: int = 3


@dataclass(frozen=True, kw_only=True)
class Case:
    """One question that the benchmark asks each contender.

    Parameters
    ----------
    name:
        Its name on the command line and in the results.
    endpoint:
        The endpoint that it needs; if empty, each parameter is the name of an endpoint.
    measure:
        Measures one server once, with one of the parameters.
    parameters:
        The values with which it is measured, each on a fresh server.
    most_rounds:
        The highest number of rounds that is of use.
    limit:
        The seconds after which a round is given up.
    options:
        The options of ``servers.started``.
    contenders:
        The contenders, if they are not those of the command line.
    """

    name: str
    endpoint: str
    measure: Callable[[Server, Pace, Any], Figures]
    parameters: Sequence[Any] = ("",)
    most_rounds: int = 5
    limit: float = 120.0
    options: Options = field(default_factory=dict)
    contenders: Sequence[Contender] | None = None

    def run(self, contenders: Sequence[Contender], pace: Pace) -> dict[str, Any]:
        """Measure all contenders in turns; return all figures of all rounds."""
        contenders = self.contenders or [each for each in contenders if each.is_general]
        rounds = min(pace.rounds, self.most_rounds)
        begin, busy = time.monotonic(), round(os.getloadavg()[0], 1)
        figures: dict[str, dict[str, list[Figures]]] = {
            each.name: {str(parameter): [] for parameter in self.parameters} for each in contenders
        }
        for number in range(rounds):
            for parameter in self.parameters:
                for contender in contenders:
                    print(f"{self.name} {parameter} round {number + 1}: {contender.title}", end=" ", file=sys.stderr)
                    found = _rounded(self._round(contender, pace, parameter))
                    print(found, file=sys.stderr, flush=True)
                    figures[contender.name][str(parameter)].append(found)
        return {
            "when": time.strftime("%Y-%m-%d"),
            "rounds": rounds,
            "seconds": pace.seconds,
            "took": round(time.monotonic() - begin),
            "commit": commit(),
            "command": f"python {' '.join(sys.argv)}",
            "busy": busy,
            "machine": machine(),
            "versions": {each.title: each.versions() for each in contenders},
            "figures": figures,
        }

    def _round(self, contender: Contender, pace: Pace, parameter: Any) -> Figures:
        try:
            with time_limit(self.limit), started(contender, self.endpoint or parameter, self.options) as server:
                return self.measure(server, pace, parameter)
        except TimeLimitError:
            return {FAILED: f"not done within {self.limit:g} s"}
        except NotReadyError as error:
            return {FAILED: str(error)}
        except Exception as error:
            return {FAILED: f"{type(error).__name__}: {error}"[:200]}


def _rounded(figures: Figures) -> Figures:
    return {key: round(value, 4) if isinstance(value, float) else value for key, value in figures.items()}


class TimeLimitError(KeyboardInterrupt):
    """The time of a round is over. Like Ctrl-C, it ends an event loop from any place, and nothing else catches it."""


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise ``TimeLimitError`` in the block once the time is over."""

    def stop(*_: object) -> None:
        raise TimeLimitError

    previous = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


def commit() -> str:
    """Return the commit of the checkout, with a ``+`` if files differ from it; empty outside a checkout."""
    command = ["git", "describe", "--always", "--abbrev=10", "--exclude=*", "--dirty=+"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parent)
    return done.stdout.strip()


def machine() -> Mapping[str, str | int]:
    """Return what is known of the machine."""
    model = "unknown"
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    memory = int(Path("/proc/meminfo").read_text(encoding="ascii").split()[1]) / 1024**2
    return {
        "cores": len(os.sched_getaffinity(0)),
        "processor": model,
        "memory": f"{memory:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }
