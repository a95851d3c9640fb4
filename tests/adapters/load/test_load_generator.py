"""The load generator against servers that are known to the byte."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import socket
import ssl
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from penstock_load import (
    CallerOptions,
    Fate,
    LoadGenerator,
    LoadSettings,
    RequestMix,
    ServerAddress,
    Shot,
    run_load,
    tls_context,
)
from penstock_load.kept_connections import KeptConnections
from tests.adapters.load.raw_server import OK, REQUEST, STREAM, Answer, RawServer, Visit, sent, serving
from tests.certificates import write_certificate
from tests.serving import HOST, ROOT, free_port

pytestmark = pytest.mark.e2e


@contextmanager
def known_server(*arguments: float) -> Iterator[ServerAddress]:
    command = [sys.executable, str(ROOT / "bench" / "known_server.py"), *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            yield ServerAddress(host=HOST, port=int(process.stdout.readline()), authority="x", path="/", is_own=True)
        finally:
            process.send_signal(signal.SIGKILL)


def shots_of(answer: Answer, **options: float | bool) -> tuple[list[Shot], RawServer]:
    """Send ten requests in 0.1 s to a server with this answer, unless the options say otherwise."""

    async def run() -> tuple[list[Shot], RawServer]:
        async with serving(answer) as server:
            return await sent(server.address, **options), server  # type: ignore[arg-type]

    return asyncio.run(run())


def fates(shots: list[Shot]) -> set[Fate]:
    return {shot.fate for shot in shots}


async def ok(visit: Visit) -> None:
    await visit.write(OK)


# ---- the schedule


def test_it_keeps_its_rate_whatever_the_server_does() -> None:
    """With answers that take longer than the gap between requests, the rate is kept to within 2 %."""
    with known_server(0.2) as address:
        shots = asyncio.run(sent(address, rate=200.0, seconds=1.0))
    assert (len(shots), fates(shots)) == (200, {Fate.ANSWERED})
    # The median over many starts: a busy machine may delay some.
    times = [after.sent - before.sent for before, after in zip(shots, shots[100:], strict=False)]
    assert statistics.median(times) == pytest.approx(100 / 200, rel=0.02)


def test_it_measures_the_delay_of_the_server() -> None:
    """No latency is shorter than the 50 ms that the server takes, and the median is little longer."""
    with known_server(0.05) as address:
        tally, is_interrupted = run_load(settings(address, rate=100.0, seconds=0.6))
    assert (tally.offered, tally.outcomes, is_interrupted) == (60, {"200": 60}, False)
    assert tally.latency.shortest >= 0.049
    assert tally.latency.quantile(0.5) == pytest.approx(0.055, abs=0.02)


def test_a_stall_counts_from_the_planned_start() -> None:
    """While the server stalls for 0.6 s, requests go on being sent, and each has waited since its own time."""
    with known_server(0.0, 0.2, 0.6) as address:
        shots = asyncio.run(sent(address, rate=100.0, seconds=1.0))
    long = sorted(shot.latency for shot in shots if shot.latency > 0.1)
    assert len(long) >= 40  # those of the first 0.5 s of the stall, less a few
    assert long[-1] >= 0.5
    assert statistics.median(long) == pytest.approx(0.35, abs=0.1)  # the later it was sent, the shorter its wait


def test_a_late_generator_counts_against_the_latency() -> None:
    """If the generator's own loop is held, the requests are late, which is their lag and part of their latency."""

    async def run() -> list[Shot]:
        async with serving(ok) as server:
            load = asyncio.create_task(sent(server.address, seconds=0.4))
            await asyncio.sleep(0.1)
            subprocess.run(["sleep", "0.2"], check=True)  # noqa: ASYNC221 - the loop has to stall
            return await load

    shots = asyncio.run(run())
    assert len(shots) == 40
    assert sum(shot.lag > 0.05 for shot in shots) >= 10
    assert all(shot.latency >= shot.lag for shot in shots)


# ---- patience


@pytest.mark.timed
def test_an_impatient_caller_hangs_up() -> None:
    """It gives up when its patience since the planned start ends, and the server sees the end of the connection."""
    hangups = []

    async def silent(visit: Visit) -> None:
        await visit.wait_for_hangup()
        hangups.append(time.perf_counter())
        visit.close()

    shots, _ = shots_of(silent, patience=0.2)
    assert fates(shots) == {Fate.GIVEN_UP}
    assert all(0.2 <= shot.latency < 1.0 for shot in shots)
    assert len(hangups) >= len(shots) - 1  # the last one may be on its way
    assert hangups[0] - shots[0].planned < 1.0


@pytest.mark.timed
def test_a_caller_gives_up_while_it_connects() -> None:
    """A server that accepts no connections any more costs no more than the patience."""

    async def run() -> list[Shot]:
        with full_listener() as port:
            address = ServerAddress(host=HOST, port=port, authority="x", path="/", is_own=True)
            return await sent(address, patience=0.2)

    shots = asyncio.run(run())
    assert Fate.GIVEN_UP in fates(shots)
    assert all(shot.latency < 1.0 for shot in shots)


@contextmanager
def full_listener() -> Iterator[int]:
    """Listen with a backlog that is full, and accept nothing."""
    with socket.socket() as listener, contextlib.ExitStack() as stack:
        listener.bind((HOST, 0))
        listener.listen(0)
        for _ in range(4):
            one = stack.enter_context(socket.socket())
            one.setblocking(False)
            one.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


# ---- broken answers


async def cut_head(visit: Visit) -> None:
    await visit.write(b"HTTP/1.1 200 OK\r\nContent-")
    visit.close()


async def cut_body(visit: Visit) -> None:
    await visit.write(OK[:-1])
    visit.close()


async def cut_stream(visit: Visit) -> None:
    await visit.write(STREAM)
    await visit.chunk(b"one")
    await visit.chunk(b"two")
    visit.close()


async def reset_stream(visit: Visit) -> None:
    await visit.write(STREAM + b"3\r\none\r\n")
    await asyncio.sleep(0.02)
    visit.reset()


async def close(visit: Visit) -> None:
    visit.close()


async def reset(visit: Visit) -> None:
    visit.reset()


async def nonsense(visit: Visit) -> None:
    await visit.write(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")


@pytest.mark.timed
@pytest.mark.parametrize(
    ("answer", "fate"),
    [
        (cut_head, Fate.CUT),
        (cut_body, Fate.CUT),
        (cut_stream, Fate.CUT),
        (reset_stream, Fate.CUT),
        (close, Fate.CLOSED),
        (reset, Fate.RESET),
        (nonsense, Fate.MALFORMED),
    ],
)
def test_each_broken_answer_is_counted_as_what_it_is(answer: Answer, fate: Fate) -> None:
    """No truncated response passes for an answer, and none waits for the end of the patience."""
    shots, _ = shots_of(answer)
    assert fates(shots) == {fate}
    assert len(shots) == 10
    assert all(shot.latency < 1.0 for shot in shots)


def test_a_refused_connection_is_counted_as_such() -> None:
    """Nothing listens there."""
    address = ServerAddress(host=HOST, port=free_port(), authority="x", path="/", is_own=True)
    shots = asyncio.run(sent(address))
    assert fates(shots) == {Fate.REFUSED}
    assert shots[0].reason


# ---- streams


@pytest.mark.timed
def test_the_chunks_of_a_stream_are_timed() -> None:
    """The first chunk from the planned start, and each gap; the patience begins again with every chunk."""

    async def stream(visit: Visit) -> None:
        await visit.write(STREAM)
        for _ in range(6):
            await asyncio.sleep(0.1)
            await visit.chunk(b"data: 1\n\n")
        await visit.write(b"0\r\n\r\n")

    shots, _ = shots_of(stream, is_stream=True, patience=0.5, rate=50.0)
    assert fates(shots) == {Fate.ANSWERED}
    firsts = [(shot.first or 0.0) - shot.planned for shot in shots]
    assert min(firsts) >= 0.1
    assert statistics.median(firsts) < 0.2
    assert all(len(shot.gaps) == 5 for shot in shots)
    assert statistics.median(gap for shot in shots for gap in shot.gaps) == pytest.approx(0.1, abs=0.04)


@pytest.mark.timed
def test_a_stream_that_only_says_that_it_is_there_is_given_up() -> None:
    """Keep-alive comments do not extend the patience."""

    async def stalling(visit: Visit) -> None:
        await visit.write(STREAM)
        await visit.chunk(b"data: 1\n\n")
        while True:
            await asyncio.sleep(0.05)
            await visit.chunk(b": keep-alive\n\n")

    shots, _ = shots_of(stalling, is_stream=True, patience=0.2, rate=50.0)
    assert fates(shots) == {Fate.GIVEN_UP}
    assert all(shot.first is not None and shot.latency < 1.0 for shot in shots)


# ---- connections


def test_connections_are_kept_and_used_again() -> None:
    """With prompt answers a few connections carry everything; without keep-alive each request has its own."""
    shots, server = shots_of(ok, seconds=0.3)
    assert (fates(shots), server.requests) == ({Fate.ANSWERED}, 30)
    assert server.connections <= 5
    _, server = shots_of(ok, seconds=0.3, keeps_alive=False)
    assert server.connections == 30


def test_a_kept_connection_that_was_closing_costs_no_answer() -> None:
    """A server may close an idle connection as a request arrives: it is sent again, once, on a new one."""

    async def two_each(visit: Visit) -> None:
        if visit.number % 2:
            await visit.write(OK)
        else:
            visit.close()

    shots, _ = shots_of(two_each, rate=20.0, seconds=0.5)
    assert fates(shots) == {Fate.ANSWERED}
    assert sum(shot.is_resent for shot in shots) == 9


def test_the_connections_are_bounded() -> None:
    """A request that finds none is not sent, and says so: it must not wait, or the load would not be open."""

    async def slow(visit: Visit) -> None:
        await asyncio.sleep(0.3)
        await visit.write(OK)

    shots, server = shots_of(slow, most_connections=3)
    assert server.connections == 3
    assert [shot.fate for shot in shots] == [Fate.ANSWERED] * 3 + [Fate.NO_CONNECTION] * 7


@pytest.mark.parametrize(("number", "fate"), [(errno.EMFILE, Fate.NO_DESCRIPTOR), (errno.EADDRNOTAVAIL, Fate.NO_PORT)])
def test_what_the_generator_lacks_is_not_blamed_on_the_server(
    number: int, fate: Fate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without descriptors or local ports, requests are not sent, and are counted as that."""

    async def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(KeptConnections, "_connect", fail)
    shots, _ = shots_of(ok)
    assert fates(shots) == {fate}


def test_nothing_is_left_open() -> None:
    """Given up, cut or answered: after the run the process has as many descriptors as before."""

    async def odd(visit: Visit) -> None:
        await [ok, cut_body, Visit.wait_for_hangup, reset][visit.number % 4](visit)

    async def run() -> tuple[int, int]:
        async with serving(odd) as server:
            before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - the number is enough
            await sent(server.address, rate=200.0, seconds=0.3, patience=0.1)
            await asyncio.sleep(0.1)
            return before, len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - the number is enough

    before, after = asyncio.run(run())
    assert after <= before


def test_a_unix_socket_is_as_good(tmp_path: Path) -> None:
    """Its path takes the place of host and port."""

    async def run() -> list[Shot]:
        async with serving(ok, tmp_path / "a.sock") as server:
            return await sent(server.address)

    assert fates(asyncio.run(run())) == {Fate.ANSWERED}


def test_a_certificate_is_verified_unless_it_is_not_wanted(tmp_path: Path) -> None:
    """A certificate of one's own is named or accepted unseen; otherwise there is no connection, and the reason."""
    certificate, key = write_certificate(tmp_path)
    own = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    own.load_cert_chain(certificate, key)

    async def run(tls: ssl.SSLContext) -> list[Shot]:
        async with serving(ok, tls=own) as server:
            return await sent(server.address, rate=50.0, tls=tls)

    assert fates(asyncio.run(run(tls_context(ca_file=str(certificate))))) == {Fate.ANSWERED}
    assert fates(asyncio.run(run(tls_context(verifies=False)))) == {Fate.ANSWERED}
    shots = asyncio.run(run(tls_context()))
    assert fates(shots) == {Fate.UNREACHABLE}
    assert "certificate verify failed" in shots[0].reason


# ---- the end


def settings(address: ServerAddress, *, rate: float, seconds: float) -> LoadSettings:
    return LoadSettings(
        address=address, mix=RequestMix([REQUEST]), callers=CallerOptions(patience=2.0), rate=rate, seconds=seconds
    )


def test_a_run_that_is_cancelled_records_what_is_in_flight() -> None:
    """Each request that was sent has a record, and its connection is closed."""
    shots: list[Shot] = []

    async def silent(visit: Visit) -> None:
        await visit.wait_for_hangup()
        visit.close()

    async def run() -> int:
        async with serving(silent) as server:
            generator = LoadGenerator(server.address, CallerOptions(patience=5.0), shots.append)
            load = asyncio.create_task(
                generator.run(time.perf_counter(), (number / 100 for number in range(1000)), lambda: REQUEST)
            )
            await asyncio.sleep(0.2)
            sent_so_far = generator.in_flight
            load.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await load
            return sent_so_far

    number = asyncio.run(run())
    assert fates(shots) == {Fate.UNFINISHED}
    assert 10 <= len(shots) == pytest.approx(number, abs=1)
