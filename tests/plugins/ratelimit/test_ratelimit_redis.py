"""Limits that several servers share, in a real Redis: alive, dead and hanging."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import msgspec
import pytest

from penstock import App
from penstock.errors import PluginError, RateLimited, Unavailable
from penstock.hooks import JobAnswered, Principal, Release, Submission
from penstock.hooks.registry import Registry, is_blocking
from penstock.testing import MockClock
from penstock_ratelimit import RateLimitPlugin
from penstock_ratelimit.gate_factory import GateFactory
from penstock_ratelimit.sharing import PAUSE_SECONDS, SAME_FAILURE_SECONDS, Outage
from tests.serving import wait_until

COMMAND = shutil.which("redis-server")
needs_redis = pytest.mark.skipif(COMMAND is None, reason="there is no redis-server: apt-get install redis-server")
STRATEGIES = ["fixed-window", "moving-window", "sliding-window-counter"]
PATIENCE = 10.0  # for a busy machine: a timeout would admit a request uncounted
TIMEOUT = 0.1


class Redis:
    """A real Redis, on a socket of its own, that stores nothing on disk."""

    def __init__(self, folder: Path) -> None:
        self.socket = folder / "redis.sock"
        self.url = f"redis+unix://{self.socket}"
        self.process: subprocess.Popen[bytes]

    def start(self) -> None:
        assert COMMAND is not None
        options = ["--port", "0", "--unixsocket", str(self.socket), "--save", "", "--appendonly", "no"]
        self.process = subprocess.Popen(
            [COMMAND, *options, "--dir", str(self.socket.parent)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_until(self.listens, "redis-server to listen")

    def listens(self) -> bool:
        # The socket may exist before the server listens on it.
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(str(self.socket)) == 0

    def stop(self) -> None:
        self.process.send_signal(signal.SIGCONT)
        self.process.kill()
        self.process.wait(timeout=10)
        self.socket.unlink(missing_ok=True)  # a killed server leaves it


@pytest.fixture
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    # Not in tmp_path: the path of a unix socket has room for 107 characters.
    server = Redis(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.stop()


class Server:
    """One of several servers that share their limits."""

    def __init__(self, url: str, clock: Callable[[], float] = time.monotonic, **settings: Any) -> None:
        app = App("tests")

        @app.endpoint("/square")
        def square(input: float) -> float:
            return input**2

        self.endpoint = app.endpoints[0]
        table = {"redis_url": url, "redis_timeout": PATIENCE, **settings}
        self.plugin = RateLimitPlugin(msgspec.convert(table, RateLimitPlugin.Settings), clock=clock)
        [self.policy] = Registry([self.plugin]).admission_policies(self.endpoint)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()

    @property
    def factory(self) -> GateFactory:
        assert self.plugin.factory is not None
        return self.plugin.factory

    @property
    def client(self) -> Any:
        assert self.factory.redis is not None
        return self.factory.redis.storage

    def ask(self, principal: str = "web") -> Submission:
        submission = Submission(self.endpoint, principal=Principal(principal))
        release: Release | None = self.policy(submission)
        if release is not None:
            submission.add_release(release)
        return submission

    def admitted(self, count: int, principal: str = "web") -> int:
        passed = 0
        for _ in range(count):
            try:
                self.ask(principal)
            except RateLimited:
                continue
            passed += 1
        return passed


def events(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.event for record in caplog.records if hasattr(record, "event")]


# ---- alive


@needs_redis
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_servers_share_a_limit(redis: Redis, strategy: str) -> None:
    """Ten requests an hour are ten in all, at whichever server they arrive; another caller has its own ten."""
    settings = {"requests": ["10/hour"], "strategy": strategy}
    with Server(redis.url, **settings) as one, Server(redis.url, **settings) as two:
        assert one.admitted(6) == 6
        assert two.admitted(6) == 4
        assert one.admitted(1) == 0
        assert two.admitted(3, "batch") == 3


@needs_redis
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_remaining_requests_are_counted_over_all_servers(redis: Redis, strategy: str) -> None:
    """The response fields and ``retry_after`` reflect requests to every server."""
    settings = {"requests": ["3/hour"], "strategy": strategy}
    with Server(redis.url, **settings) as one, Server(redis.url, **settings) as two:
        one.ask()
        headers = dict(two.ask().response_headers)
        assert headers["ratelimit-policy"] == '"default";q=3;w=3600'
        name, remaining, seconds = headers["ratelimit"].split(";")
        assert (name, remaining) == ('"default"', "r=1")
        assert 1 <= int(seconds.removeprefix("t=")) <= 3600
        one.ask()
        with pytest.raises(RateLimited) as caught:
            two.ask()
        assert caught.value.retry_after is not None
        assert 1 <= caught.value.retry_after <= 3600


@needs_redis
def test_a_window_ends_in_redis_too(redis: Redis) -> None:
    """A caller that waits as long as asked is admitted again; the test takes a second of real time."""
    with Server(redis.url, requests=["1/second"]) as server:
        server.ask()
        with pytest.raises(RateLimited):
            server.ask()
        wait_until(lambda: server.admitted(1), "the end of the second", timeout=5)


@needs_redis
def test_what_is_kept_apart_stays_apart(redis: Redis) -> None:
    """Endpoints, prefixes and strategies have different keys, and do not disturb each other."""
    settings = {"requests": ["1/hour"]}
    with (
        Server(redis.url, **settings) as one,
        Server(redis.url, **settings, redis_prefix="another") as two,
        Server(redis.url, **settings, strategy="moving-window") as three,
        Server(redis.url, **settings, endpoints={"square": {"requests": ["1/hour"]}}) as four,
    ):
        assert [server.admitted(2) for server in (one, two, three, four)] == [1, 1, 1, 1]
        keys = sorted(key.decode() for key in one.client.scan_iter())
    assert keys == [
        "another:fixed-window:default//p:web/1/3600",
        "penstock:fixed-window:default//p:web/1/3600",
        "penstock:fixed-window:endpoint/square/p:web/1/3600",
        "penstock:moving-window:default//p:web/1/3600",
    ]


@needs_redis
def test_every_key_expires_by_itself(redis: Redis) -> None:
    """Redis forgets a caller that does not return."""
    for strategy in STRATEGIES:
        with Server(redis.url, requests=["5/minute"], strategy=strategy) as server:
            server.ask()
            assert all(0 < server.client.ttl(key) <= 120 for key in server.client.scan_iter())


@needs_redis
def test_threads_may_ask_at_once(redis: Redis) -> None:
    """The policy waits for Redis, so it is marked as blocking and runs in threads; no extra request passes."""
    passed: list[int] = []
    with Server(redis.url, requests=["100/hour"], concurrent=50) as server:
        assert is_blocking(server.policy)

        def come() -> None:
            for _ in range(50):
                try:
                    submission = server.ask()
                except RateLimited:
                    continue
                submission.close(JobAnswered(endpoint="square", request_id="r1", code="ok"))
                passed.append(1)

        threads = [threading.Thread(target=come) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert repr(next(iter(server.factory.permits.values()))) == "<Permits 50 each: 0 held by 0>"
    assert len(passed) == 100


# ---- dead


@needs_redis
def test_while_redis_is_dead_all_requests_pass(redis: Redis, caplog: pytest.LogCaptureFixture) -> None:
    """They pass immediately, without fields that would be wrong, with one log line; permits still count here."""
    clock = MockClock(1000.0)
    with Server(redis.url, clock, requests=["1/hour"], concurrent=30) as server:
        server.ask()
        redis.stop()
        started = time.monotonic()
        assert server.admitted(40) == 29
        assert time.monotonic() - started < PATIENCE / 2
        headers = dict(server.ask("batch").response_headers)
        assert headers["ratelimit"] == '"concurrent";r=29'
        redis.start()
        assert server.admitted(1, "other") == 1  # Redis is not asked during the pause
        clock.advance(PAUSE_SECONDS)
        assert server.admitted(5, "other") == 1
    assert events(caplog) == ["ratelimit-unavailable"]


@needs_redis
def test_a_server_starts_without_redis_and_finds_it_later(redis: Redis, caplog: pytest.LogCaptureFixture) -> None:
    """Server and Redis may start in either order."""
    caplog.set_level(logging.INFO, logger="penstock")
    redis.stop()
    clock = MockClock(1000.0)
    with Server(redis.url, clock, requests=["2/hour"]) as server:
        assert server.admitted(5) == 5
        redis.start()
        clock.advance(PAUSE_SECONDS)
        assert server.admitted(5) == 2
    assert events(caplog) == ["ratelimit-unavailable", "ratelimit-available"]


@needs_redis
def test_a_redis_that_was_started_anew_is_not_an_outage(redis: Redis, caplog: pytest.LogCaptureFixture) -> None:
    """The broken connection is re-established within the request."""
    with Server(redis.url, requests=["2/hour"]) as server:
        assert server.admitted(2) == 2
        redis.stop()
        redis.start()
        assert server.admitted(5) == 2
    assert events(caplog) == []


@needs_redis
def test_it_refuses_instead_if_the_setting_says_so(redis: Redis) -> None:
    """The status is 503, not 429, because the caller is not at fault; and the permit is released."""
    redis.stop()
    with Server(redis.url, requests=["9/hour"], concurrent=1, on_redis_failure="refuse") as server:
        for _ in range(3):
            with pytest.raises(Unavailable) as caught:
                server.ask()
            assert (caught.value.status, caught.value.retry_after) == (503, PAUSE_SECONDS)
        assert repr(next(iter(server.factory.permits.values()))) == "<Permits 1 each: 0 held by 0>"


# ---- hanging


@needs_redis
@pytest.mark.parametrize("is_connected", [True, False])
def test_a_redis_that_hangs_delays_one_request(redis: Redis, *, is_connected: bool) -> None:
    """One request waits for the timeout; the others of that second do not wait at all."""
    with Server(redis.url, MockClock(1000.0), requests=["1000/hour"], redis_timeout=TIMEOUT) as server:
        if is_connected:
            server.ask()
            assert server.factory.outage is not None
            assert server.factory.outage.failures == 0
        os.kill(redis.process.pid, signal.SIGSTOP)
        waits = []
        for _ in range(20):
            started = time.monotonic()
            server.ask()
            waits.append(time.monotonic() - started)
    assert TIMEOUT * 0.9 <= waits[0] < TIMEOUT * 10
    assert sum(waits[1:]) < TIMEOUT * 10  # if each waited, it would be twice that


# ---- without any Redis


def test_in_an_outage_one_asks_and_the_others_do_not_wait() -> None:
    """A second after the last failure one request tries Redis again; concurrent requests do not."""
    clock = MockClock(0.0)
    outage = Outage("no rate limit is enforced", clock)
    assert [outage.may_ask() for _ in range(3)] == [True, True, True]
    outage.failed(TimeoutError("slow"))
    assert [outage.may_ask() for _ in range(3)] == [False, False, False]
    clock.advance(PAUSE_SECONDS)
    assert [outage.may_ask() for _ in range(3)] == [True, False, False]
    clock.advance(PAUSE_SECONDS)
    assert outage.may_ask()
    outage.answered()
    assert [outage.may_ask() for _ in range(3)] == [True, True, True]


def test_an_outage_is_logged_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    """The line has the number of failures so far and the consequence."""
    clock = MockClock(0.0)
    outage = Outage("no rate limit is enforced", clock)
    for _ in range(10):
        outage.failed(TimeoutError("slow"))
        clock.advance(SAME_FAILURE_SECONDS / 5)
    assert [record.msg for record in caplog.records] == [
        "Redis does not answer, so no rate limit is enforced: slow",
        "Redis does not answer, so no rate limit is enforced: slow",
    ]
    assert repr(outage) == "<Outage: out, 10 failures>"


@pytest.mark.parametrize("url", ["", "here", "http://localhost", "redis://user:hunter2@host:port", "rediss://[hunter2"])
def test_a_url_that_cannot_be_read_stops_the_start(url: str) -> None:
    """The error contains the fix, but not the URL, which may hold a password."""
    with pytest.raises(PluginError, match="the redis_url of plug-in 'ratelimit' cannot be used") as caught:
        Server(url, requests=["1/minute"])
    assert "write redis://host:6379/0" in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None
