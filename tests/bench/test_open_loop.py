"""The load generator of the benchmark, against a server whose delays are known."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from bench.open_loop import NO_ANSWER, REFUSED, Volley, headroom, offer, quantile
from tests.serving import ROOT, free_port

REQUEST = b"POST / HTTP/1.1\r\nHost: bench\r\nContent-Length: 0\r\n\r\n"


@contextmanager
def known_server(*arguments: float) -> Iterator[int]:
    command = [sys.executable, str(ROOT / "bench" / "known_server.py"), *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            yield int(process.stdout.readline())
        finally:
            process.send_signal(signal.SIGKILL)


def fired(
    port: int, *, rate: float = 100.0, seconds: float = 1.0, patience: float = 5.0, seed: int | None = 1
) -> Volley:
    return asyncio.run(offer(port, REQUEST, rate=rate, seconds=seconds, patience=patience, seed=seed))


def test_it_keeps_its_rate_and_sees_the_delay() -> None:
    """Every planned request is sent, however slow the answers; no latency is shorter than the server's delay."""
    with known_server(0.1) as port:
        volley = fired(port, rate=100, seconds=1, seed=None)
    assert len(volley.shots) in {99, 100}  # one every 10 ms, the last one at the very end
    assert volley.statuses() == {200: len(volley.shots)}
    assert min(shot.latency for shot in volley.shots) >= 0.1
    assert all(shot.body == b"ok" for shot in volley.shots)


def test_a_stall_of_the_server_is_not_hidden() -> None:
    """While the server stalls for 0.6 s, requests go on being planned, and each counts from its planned time."""
    with known_server(0.0, 0.3, 0.6) as port:
        volley = fired(port, rate=100, seconds=1, seed=None)
    long = [shot for shot in volley.answered() if shot.latency > 0.1]
    assert len(long) >= 40  # those of the first 0.5 s of the stall, less a few
    assert max(shot.latency for shot in long) >= 0.5


def test_a_late_generator_counts_against_the_latency() -> None:
    """The latency counts from the planned start, even if the generator itself was late."""

    async def run(port: int) -> Volley:
        load = asyncio.create_task(offer(port, REQUEST, rate=100, seconds=0.5, patience=5, seed=None))
        await asyncio.sleep(0.1)
        subprocess.run(["sleep", "0.2"], check=True)  # noqa: ASYNC221 - the loop has to stall
        return await load

    with known_server(0.0) as port:
        volley = asyncio.run(run(port))
    late = [shot for shot in volley.shots if shot.sent - shot.planned > 0.05]
    assert len(volley.shots) in {49, 50}
    assert len(late) >= 10
    assert all(shot.latency >= shot.sent - shot.planned for shot in volley.shots)


def test_an_impatient_caller_hangs_up() -> None:
    """A request without an answer ends after the patience of its caller, with status 0."""
    with known_server(30.0) as port:
        volley = fired(port, rate=20, seconds=0.5, patience=0.2)
    assert volley.statuses() == {NO_ANSWER: len(volley.shots)}
    assert all(shot.latency >= 0.19 for shot in volley.shots)


def test_a_refused_connection_has_a_status_of_its_own() -> None:
    """If nothing listens, the status is that of a refused connection, not that of a hang-up."""
    volley = fired(free_port(), rate=20, seconds=0.3)
    assert volley.statuses() == {REFUSED: len(volley.shots)}


def test_the_same_seed_offers_the_same_load() -> None:
    """The planned times depend on the seed only, so all servers get the same callers."""

    def gaps(seed: int) -> list[float]:
        volley = fired(free_port(), rate=100, seconds=0.3, seed=seed)
        return [round(shot.planned - volley.begin, 6) for shot in volley.shots]

    assert gaps(1) == gaps(1) != gaps(2)


def test_headroom_is_bounded_and_found() -> None:
    """The search doubles the rate and ends at the highest one allowed; it returns a rate that it tried, or 0."""
    with known_server(0.0) as port:
        most = asyncio.run(headroom(port, REQUEST, 10, seconds=0.2, most=80))
    assert most in {0, 20, 40, 80}


def test_quantiles_of_nothing_are_not_numbers() -> None:
    """Without values there is no quantile."""
    assert quantile([], 0.5) != quantile([], 0.5)
    assert quantile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert quantile([3.0, 1.0, 2.0], 1.0) == 3.0
