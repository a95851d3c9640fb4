"""The client against a real Penstock server: its error codes, its times, its streams, and a handler that calls on."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import anyio
import pytest

from penstock_client import AsyncClient, Client, Hedge, Retries, errors
from tests.client.drivers import DRIVERS, call, one, stream
from tests.serving import Served, wait_until, write_app

pytestmark = pytest.mark.e2e

APP = """
    import os
    import time
    from collections.abc import Iterator
    from pathlib import Path

    from penstock import App, Context, Timeouts
    from penstock.errors import NotFound, Unavailable
    from penstock_client import Client, ClientError

    app = App(__name__)
    client = Client(os.environ["SELF"])

    @app.endpoint("/square")
    def square(input: float) -> float:
        return input**2

    @app.endpoint("/fail")
    def fail() -> None:
        raise ValueError("no")

    @app.endpoint("/absent")
    def absent() -> None:
        raise NotFound("no such user", param="user")

    @app.endpoint("/tired")
    def tired() -> None:
        raise Unavailable("the index is being rebuilt", retry_after=300)

    @app.endpoint("/die", idempotent=False)
    def die() -> None:
        os._exit(1)

    @app.endpoint("/slow", timeouts=Timeouts(execution=0.2))
    def slow() -> None:
        time.sleep(2)

    @app.endpoint("/sleep", concurrency=4)
    async def sleep(seconds: float) -> None:
        import trio
        await trio.sleep(seconds)

    @app.endpoint("/unlucky", concurrency=4)
    async def unlucky(first: str, gone: str) -> str:
        import trio
        try:
            Path(first).touch(exist_ok=False)
        except FileExistsError:
            return "quick"
        try:
            await trio.sleep(30)
        finally:
            Path(gone).touch()
        return "slow"

    @app.endpoint("/single", max_queue=1)
    async def single(seconds: float) -> str:
        import trio
        await trio.sleep(seconds)
        return "done"

    @app.endpoint("/write", concurrency=4)
    def write(words: int = 3, pause: float = 0.0, gone: str = "", fail: bool = False) -> Iterator[str]:
        try:
            for number in range(words):
                yield f"{number} "
                time.sleep(pause)
            if fail:
                raise ValueError("no")
        finally:
            if gone:
                Path(gone).touch()

    @app.endpoint("/relay", concurrency=2)
    def relay(context: Context) -> list[str | None]:
        try:
            client.from_context(context).call("sleep", {"seconds": 5})
        except ClientError as error:
            return [error.code, error.request_id]
        return []
"""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    server = Served(write_app(tmp_path_factory.mktemp("app"), APP), "--max-body", "64KiB")
    server.environment = {**server.environment, "SELF": server.base_url}
    with server:
        yield server


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_result_has_the_servers_times(served: Served, driver: str) -> None:
    """Value, id, and the seconds in the queue and in the handler."""
    result = one(driver, served.base_url, call("square", {"input": 3.0}))
    assert result.value == 9.0
    assert result.request_id
    assert 0 <= result.queue_seconds < 5
    assert 0 <= result.execution_seconds < 5


CODES = {
    "square": ({"input": "x"}, errors.InvalidRequest, False),
    "fail": ({}, errors.HandlerError, True),
    "absent": ({}, errors.NotFound, False),
    "nothing": ({}, errors.NotFound, False),
    "tired": ({}, errors.Unavailable, False),
    "slow": ({}, errors.ExecutionTimeout, True),
    "die": ({}, errors.WorkerLost, True),
}


@pytest.mark.parametrize("endpoint", CODES)
@pytest.mark.parametrize("driver", DRIVERS)
def test_each_code_is_its_error(served: Served, driver: str, endpoint: str) -> None:
    """The class, and whether the work may have run; none of these is tried again."""
    body, kind, may_have_run = CODES[endpoint]
    error = one(driver, served.base_url, call(endpoint, body), retries=Retries(base=0.001))
    assert type(error) is kind
    assert (error.may_have_run, len(error.attempts)) == (may_have_run, 1)


def test_a_wrong_method_and_a_body_that_is_not_json(served: Served) -> None:
    """405 and 400 are errors of their own."""
    with Client(served.base_url) as client:
        with pytest.raises(errors.MethodNotAllowed):
            client.call("square", method="DELETE")
        with pytest.raises(errors.MalformedRequest):
            client.call("square", b"{", headers={"content-type": "application/json"})
        with pytest.raises(errors.UnsupportedMediaType):
            client.call("square", b"{}")


def test_refusals_before_the_work_are_errors_of_their_own(served: Served) -> None:
    """413 and an infeasible deadline have started nothing, and are not tried again."""
    with Client(served.base_url) as client:
        with pytest.raises(errors.PayloadTooLarge) as too_large:
            client.call("square", {"input": "x" * 100_000})
        with pytest.raises(errors.DeadlineInfeasible) as infeasible:
            client.call("square", {"input": 1.0}, headers={"X-Request-Timeout": "0"})
    for error in (too_large.value, infeasible.value):
        assert (error.may_have_run, error.retryable, len(error.attempts)) == (False, False, 1)


def test_a_full_queue_is_waited_for(served: Served) -> None:
    """Without retries the call is refused; with them it comes back when the server says, and succeeds."""
    with Client(served.base_url) as client, ThreadPoolExecutor(4) as threads:
        once = client.with_options(retries=Retries(max_attempts=1))
        for _ in range(4):
            threads.submit(once.call, "single", {"seconds": 0.4})
        refused = wait_until(lambda: refusal(once), "a full queue")
        assert type(refused) is errors.QueueFull
        assert (refused.may_have_run, refused.retryable) == (False, True)
        assert refused.retry_after
        assert client.with_options(retries=Retries(max_attempts=9)).call("single", {"seconds": 0}).value == "done"


def refusal(client: Client) -> errors.ClientError | None:
    try:
        client.call("single", {"seconds": 0.0}, timeout=5)
    except errors.ClientError as error:
        return error
    return None


def test_the_server_knows_the_deadline(served: Served) -> None:
    """The server answers a little before the client's own time-out, and has stopped the work."""
    with Client(served.base_url) as client, pytest.raises(errors.ServerTotalTimeout) as caught:
        client.call("sleep", {"seconds": 5}, timeout=0.5)
    assert caught.value.status == 504


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_stream_is_read_whole(served: Served, driver: str) -> None:
    """Its events, and its text."""
    assert one(driver, served.base_url, stream()) == ["0 ", "1 ", "2 "]
    assert one(driver, served.base_url, stream(is_text=True)) == "0 1 2 "


def test_a_stream_that_fails_on_the_server_has_what_came(served: Served) -> None:
    """The error has the server's code and the events before it."""
    with (
        Client(served.base_url) as client,
        pytest.raises(errors.StreamFailed) as caught,
        client.stream("write", {"fail": True}) as events,
    ):
        events.text()
    assert (caught.value.partial, caught.value.server_code) == (["0 ", "1 ", "2 "], "handler-error")


@pytest.mark.timed
def test_leaving_a_stream_ends_the_work(served: Served, tmp_path: Path) -> None:
    """The generator on the server is closed at once, and its slot is free."""
    gone = tmp_path / "gone"
    with Client(served.base_url) as client:
        with client.stream("write", {"words": 500, "pause": 0.02, "gone": str(gone)}) as events:
            assert next(events) == "0 "
        left = time.monotonic()
        wait_until(gone.exists, "the end of the generator")
        assert time.monotonic() - left < 2.0


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_the_work_of_an_overtaken_request_ends(served: Served, tmp_path: Path, backend: str) -> None:
    """The hedge's answer is that of the call, and the server stops the first request's work at once."""
    gone = tmp_path / "gone"
    body = {"first": str(tmp_path / "first"), "gone": str(gone)}

    async def main() -> Any:
        async with AsyncClient(served.base_url, hedge=Hedge(after=0.2)) as client:
            return await client.call("unlucky", body, idempotent=True, timeout=20.0)

    began = time.monotonic()
    result = anyio.run(main, backend=backend)
    wait_until(gone.exists, "the end of the first request's work")
    assert time.monotonic() - began < 5.0
    assert result.value == "quick"
    assert [attempt.outcome for attempt in result.attempts] == ["overtaken", "200"]


def test_a_handler_passes_its_deadline_on(served: Served) -> None:
    """The inner call ends before the outer one's deadline, with the same request id."""
    with Client(served.base_url) as client:
        result = client.call("relay", {}, timeout=1.0)
    code, request_id = result.value
    assert code == "total-timeout"
    assert request_id == result.request_id


def test_health_is_a_question(served: Served) -> None:
    """True from a server that is ready, False from a port where there is none."""
    with Client(served.base_url) as client, Client("http://127.0.0.1:9") as nothing:
        assert client.health()
        assert not nothing.health(timeout=1.0)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_health_is_a_question_in_a_loop_too(served: Served, backend: str) -> None:
    """The same answers."""

    async def main() -> tuple[bool, bool]:
        async with AsyncClient(served.base_url) as client, AsyncClient("http://127.0.0.1:9") as nothing:
            return await client.health(), await nothing.health(timeout=1.0)

    assert anyio.run(main, backend=backend) == (True, False)
