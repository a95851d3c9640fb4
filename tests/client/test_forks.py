"""A client that is used before a fork and after it, in both processes: no connection is shared, and nothing hangs."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import warnings
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from typing import Any

import anyio
import httpx2
import pytest

from penstock_client import AsyncClient, Client, Limits, Retries
from tests.client.scripted_server import End, ScriptedServer, answer, chunked
from tests.serving import wait_until

ONCE = Retries(max_attempts=1)
LONGEST = 30
"""The seconds after which a child is taken to hang."""


@pytest.fixture(autouse=True)
def _quiet_forks() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the server's threads; the children use none of them
        yield


def in_fork(function: Callable[[], Any]) -> Any:
    """Run a function in a forked process; return its result, or its exception as text."""
    mine, its = multiprocessing.Pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(LONGEST)  # ends it, if it hangs
        _report(function, its)
    its.close()
    try:
        assert mine.poll(LONGEST), "the child has no result"
        return mine.recv()
    except EOFError:
        raise AssertionError("the child has died") from None
    finally:
        os.waitpid(child, 0)


def _report(function: Callable[[], Any], pipe: Connection) -> None:
    try:
        try:
            pipe.send(function())
        except BaseException as error:
            pipe.send(f"{type(error).__name__}: {error}")
    finally:
        os._exit(0)


def peers_of(server: ScriptedServer) -> dict[str, set[int]]:
    """Return the connections, by their ports, on which each process has sent requests."""
    found: dict[str, set[int]] = {}
    for request in server.requests:
        found.setdefault(request.headers["x-process"], set()).add(request.peer)
    return found


def sender(client: Client) -> Callable[[], list[int]]:
    """Return a function that makes three calls, and says which process it is."""

    def send() -> list[int]:
        headers = {"x-process": str(os.getpid())}
        return [client.call("echo", headers=headers).value for _ in range(3)]

    return send


def test_no_connection_is_shared() -> None:
    """Parent, child and grandchild each keep one of their own, and the parent's outlives the children."""
    with ScriptedServer([(answer(b"1"),)]) as server, Client(server.url) as client:
        send = sender(client)
        assert send() == [1, 1, 1]
        assert in_fork(lambda: send() + in_fork(send) + send()) == [1] * 9
        assert send() == [1, 1, 1]
        peers = peers_of(server)
    assert [len(ports) for ports in peers.values()] == [1, 1, 1]
    assert len(set.union(*peers.values())) == server.connections == 3


def test_multiprocessing_forks_too() -> None:
    """A pool of forked workers, with the client as a global of the program."""
    with ScriptedServer([(answer(b"1"),)]) as server, Client(server.url) as client:
        send = sender(client)
        send()
        pipes = []
        for _ in range(3):
            mine, its = multiprocessing.Pipe()
            worker = multiprocessing.get_context("fork").Process(target=_report, args=(send, its))
            worker.start()
            pipes.append((mine, worker))
        for mine, worker in pipes:
            assert mine.poll(LONGEST)
            assert mine.recv() == [1, 1, 1]
            worker.join(LONGEST)
        peers = peers_of(server)
    assert [len(ports) for ports in peers.values()] == [1] * 4
    assert len(set.union(*peers.values())) == 4


def test_a_fork_in_the_middle_of_a_call() -> None:
    """It goes on in the parent, and holds up nothing in the child: neither by its slot nor by its stream."""
    silent = (chunked(b"1\n", end=False), End.SILENCE)
    with ScriptedServer([silent, (answer(b"1"),)]) as server:
        client = Client(server.url, limits=Limits(max_concurrent=1))
        with client, client.stream("write", headers={"x-process": str(os.getpid())}) as events:
            assert next(events) == 1
            assert in_fork(sender(client)) == [1, 1, 1]
            assert server.hang_ups == []
        wait_until(lambda: server.hang_ups, "the hang-up of the parent's stream")
    assert [len(ports) for ports in peers_of(server).values()] == [1, 1]


LOCKS: dict[str, Callable[[Client], Any]] = {
    "of the state": lambda client: client._shared.lock,
    "of the budget": lambda client: client._shared.budget._lock,
    "of the rate": lambda client: client._shared.rate._lock,
    "of a breaker": lambda client: client._shared.endpoint("echo").breaker._lock,
    "of the pool": lambda client: client._shared.http._transport._pool._optional_thread_lock,
}


@pytest.mark.parametrize("which", LOCKS)
def test_a_lock_that_is_held_at_the_fork_holds_up_nothing(which: str) -> None:
    """The thread that would release it does not exist in the child, which may call and close."""
    with ScriptedServer([(answer(b"1"),)]) as server, Client(server.url, limits=Limits(rate=1000.0)) as client:
        send = sender(client)
        send()

        def use() -> list[int]:
            with client:
                return send()

        with LOCKS[which](client):
            assert in_fork(use) == [1, 1, 1]
        assert send() == [1, 1, 1]


def test_threads_of_a_fork_share_one_state() -> None:
    """Whichever of them is the first: the limit on calls at a time holds for all of them."""
    with ScriptedServer([(answer(b"1"),)]) as server, Client(server.url, limits=Limits(max_connections=1)) as client:

        def use() -> int:
            start = threading.Barrier(8)

            def work() -> None:
                start.wait()
                sender(client)()

            threads = [threading.Thread(target=work) for _ in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            return len(client._shared.heirs)

        assert in_fork(use) == 1
        assert [len(ports) for ports in peers_of(server).values()] == [1]


def test_a_child_that_closes_the_client_closes_its_own() -> None:
    """It may have made calls or not; the parent's connection is as good as before."""
    with ScriptedServer([(answer(b"1"),)]) as server, Client(server.url) as client:
        send = sender(client)
        send()

        def use() -> str:
            send()
            client.close()
            with contextlib.suppress(RuntimeError):
                return str(send())
            return "closed"

        assert in_fork(client.close) is None
        assert in_fork(use) == "closed"
        assert send() == [1, 1, 1]
        assert len(peers_of(server)[str(os.getpid())]) == 1


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_fork_has_a_loop_of_its_own(backend: str) -> None:
    """An async client may be made at import, and used by the loop of each process."""
    with ScriptedServer([(answer(b"1"),)]) as server:
        client = AsyncClient(server.url, limits=Limits(max_concurrent=1))

        async def call() -> int:
            return (await client.call("echo", headers={"x-process": str(os.getpid())})).value

        async def main() -> list[int]:
            found = [await call(), await call()]
            await client.aclose()
            return found

        async def fork_between() -> list[int]:
            async with client:
                return [await call(), *in_fork(lambda: _in_new_loop(main, backend)), await call()]

        assert anyio.run(fork_between, backend=backend) == [1, 1, 1, 1]
        peers = peers_of(server)
    assert [len(ports) for ports in peers.values()] == [1, 1]
    assert len(set.union(*peers.values())) == 2


def _in_new_loop(main: Callable[[], Any], backend: str) -> Any:
    """Run a loop in a thread, as the forked thread has the parent's."""
    found = []
    thread = threading.Thread(target=lambda: found.append(anyio.run(main, backend=backend)))
    thread.start()
    thread.join()
    return found[0]


# ---- clients of httpx2


def test_the_connections_of_another_client_are_refused() -> None:
    """The message has the cure; the parent goes on."""
    with ScriptedServer([(answer(b"1"),)]) as server, httpx2.Client() as http:
        client = Client(server.url, http_client=http)
        send = sender(client)
        send()
        said = in_fork(send)
        assert said.startswith(f"RuntimeError: the connections of http_client= belong to process {os.getpid()}")
        assert "a function that returns a client" in said
        assert send() == [1, 1, 1]
        assert server.connections == 1


def test_an_async_client_of_httpx2_is_refused() -> None:
    """The same with a loop."""
    client = AsyncClient("http://127.0.0.1:9", http_client=httpx2.AsyncClient(), retries=ONCE)
    said = in_fork(lambda: anyio.run(client.call, "echo"))
    assert said.startswith("RuntimeError: the connections of http_client= belong to process")


def test_a_function_opens_the_connections_of_each_process() -> None:
    """It is called once in each, and its result is closed with the client."""
    made: list[httpx2.Client] = []

    def make() -> httpx2.Client:
        made.append(httpx2.Client(headers={"x-proxied": "yes"}))
        return made[-1]

    with ScriptedServer([(answer(b"1"),)]) as server:
        with Client(server.url, http_client=make) as client:
            send = sender(client)
            send()

            def use() -> list[bool]:
                send()
                client.close()
                return [http.is_closed for http in made]

            assert in_fork(use) == [False, True]
            send()
        assert [http.is_closed for http in made] == [True]
        assert {request.headers["x-proxied"] for request in server.requests} == {"yes"}
        assert [len(ports) for ports in peers_of(server).values()] == [1, 1]
