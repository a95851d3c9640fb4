"""A key, or another secret header, is sent, and shown nowhere: a canary in each place where one may be given."""

from __future__ import annotations

import logging
import pickle
import traceback
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any

import httpx2
import pytest

from penstock_client import AsyncClient, Client, Limits, Record, Retries, Timeouts, errors
from tests.client.drivers import DRIVERS, Act, call, one, stream
from tests.client.scripted_server import End, ScriptedServer, Step, answer, chunked

CANARY = "sk-canary"
QUICK = Retries(base=0.001)

PLACES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "a key": ({"key": CANARY}, {}),
    "a function": ({"key": lambda: CANARY}, {}),
    "a header of the client": ({"headers": {"authorization": f"Bearer {CANARY}"}}, {}),
    "another header": ({"headers": {"x-api-key": CANARY}}, {}),
    "a header of the call": ({}, {"headers": {"authorization": f"Bearer {CANARY}"}}),
}
FULL = answer(b'{"error":{"code":"queue-full","message":"full"}}', status=503)
FATES: dict[str, tuple[list[tuple[Step, ...]], Callable[..., Act], type[Exception] | None]] = {
    "an answer at the second request": ([(FULL,), (answer(),)], call, None),
    "an error status": ([(answer(status=400),)], call, errors.InvalidRequest),
    "a refused key": ([(answer(status=401),)], call, errors.Unauthorized),
    "a cut before the answer": ([(End.CLOSE,)], call, errors.ConnectionLost),
    "a cut in the answer": ([(answer(b"[1]")[:-1], End.CLOSE)], call, errors.ConnectionLost),
    "an answer that is not JSON": ([(answer(b"<html>"),)], call, errors.InvalidAnswer),
    "no answer": ([(End.SILENCE,)], call, errors.FirstByteTimeout),
    "a stream that is cut": ([(chunked(b"1\n", end=False), End.CLOSE)], stream, errors.TruncatedStream),
}


def locals_of(trace: TracebackType | None) -> Iterator[str]:
    """Yield the local variables of each frame below the tests', as an error tracker shows them."""
    for frame, _ in traceback.walk_tb(trace):
        if "/tests/" not in frame.f_code.co_filename:
            yield from (f"{frame.f_code.co_name}: {name} = {value!r}" for name, value in frame.f_locals.items())


def shown_by(error: BaseException) -> list[str]:
    """Return all that an error shows: its text, its facts, its chain and its pickle."""
    assert error.__cause__ is None
    assert error.__context__ is None or error.__suppress_context__
    shown = [
        *traceback.format_exception(error),
        repr(error),
        repr(error.__context__),
        repr(vars(error)),
        repr(pickle.dumps(error)),
    ]
    if isinstance(error, errors.ResponseError):
        shown.append(repr(error.headers))
    return shown


@pytest.mark.parametrize("fate", FATES)
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("driver", DRIVERS)
def test_the_canary_is_sent_and_seen_nowhere(
    driver: str, place: str, fate: str, caplog: pytest.LogCaptureFixture
) -> None:
    """In no record, error, traceback or pickle, and in no line of the log, with that of httpx2 at DEBUG."""
    caplog.set_level(logging.DEBUG)
    records: list[Record] = []
    settings, options = PLACES[place]
    scripts, act, expected = FATES[fate]
    with ScriptedServer(list(scripts)) as server:
        limits = Timeouts(first_byte=0.1 if expected is errors.FirstByteTimeout else None)
        met = one(
            driver, server.url, act(**options), retries=QUICK, timeouts=limits, on_event=records.append, **settings
        )
        assert all(CANARY in repr(request.headers) for request in server.requests)
        assert server.requests
    assert expected is None or isinstance(met, expected)
    shown = [caplog.text, repr(records), repr(met)]
    if isinstance(met, BaseException):
        shown += shown_by(met)
        if place != "a header of the call":  # it is an argument, like the body
            shown += locals_of(met.__traceback__)
    assert "httpcore2.http11" in {record.name for record in caplog.records}  # which has its say
    assert [text for text in shown if CANARY in text] == []


def test_an_error_is_the_same_after_a_pickle() -> None:
    """It may come from another process: a task queue, a pool of workers."""
    with ScriptedServer([(FULL,)]) as server, Client(server.url, key=CANARY, retries=QUICK) as client:
        with pytest.raises(errors.QueueFull) as caught:
            client.call("classify")
        same = pickle.loads(pickle.dumps(caught.value))
    assert type(same) is errors.QueueFull
    assert (str(same), vars(same)) == (str(caught.value), vars(caught.value))


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_the_parts_of_a_client_do_not_show_it(kind: Any) -> None:
    """Nor do its views, its attributes, or a request before it is sent; and a client cannot be pickled."""
    client = kind("http://test", key=CANARY, headers={"x-api-key": CANARY})
    views = [client, client.with_options(key=CANARY + "2"), client.with_options(headers={"x-other": CANARY})]
    outgoing = [
        view._outgoing(
            "classify",
            {"prompt": CANARY},
            timeout=None,
            idempotency_key=None,
            idempotent=False,
            method="POST",
            headers={"x-more": CANARY},
        )
        for view in views
    ]
    shown = [repr(views), str(views), repr(outgoing)]
    shown += [repr(vars(view)) for view in views]
    with pytest.raises(TypeError, match=r"cannot be pickled.* make one in each process") as caught:
        pickle.dumps(client)
    shown += traceback.format_exception(caught.value)
    assert [text for text in shown if CANARY in text] == []


def use_key(key: Any) -> None:
    Client("http://test", key=key)


def use_header(value: Any) -> None:
    Client("http://test", headers={"x-api-key": value})


def use_view_key(key: Any) -> None:
    Client("http://test").with_options(key=key)


def use_view_header(value: Any) -> None:
    Client("http://test").with_options(headers={"x-api-key": value})


def use_function(key: Any) -> None:
    Client("http://127.0.0.1:9", key=lambda: key, headers={"x-api-key": CANARY}).call("classify")


def use_wrong_url(key: Any) -> None:
    Client("ftp://test", key=key)


def use_wrong_argument(key: Any) -> None:
    Client("http://test", key=key.strip()).call("classify", timeout=-1)


def use_broken_function(key: Any) -> None:
    def broken() -> str:
        raise LookupError("the vault is closed")

    Client("http://test", key=broken, headers={"x-api-key": key.strip()}).call("classify")


def use_broken_transport(key: Any) -> None:
    def broken(request: httpx2.Request) -> httpx2.Response:
        assert key.strip() in request.headers["authorization"]
        raise LookupError("the transport is broken")

    http = httpx2.Client(transport=httpx2.MockTransport(broken))
    Client("http://test", key=key.strip(), http_client=http).call("classify")


@pytest.mark.parametrize(
    "use",
    [
        use_key,
        use_header,
        use_view_key,
        use_view_header,
        use_function,
        use_wrong_url,
        use_wrong_argument,
        use_broken_function,
        use_broken_transport,
    ],
)
def test_a_mistake_does_not_show_it(use: Callable[[str], None]) -> None:
    """A key that was read from a file with its newline is still the key: no local variable below the call has it."""
    with pytest.raises((ValueError, LookupError)) as caught:
        use(f"{CANARY}\n")
    shown = [str(caught.value), *locals_of(caught.value.__traceback__)]
    assert [text for text in shown if CANARY in text] == []


@pytest.mark.parametrize(
    "url", [f"http://user:{CANARY}@example.org", f"http://example.org/v1?key={CANARY}", f"http://example.org#{CANARY}"]
)
def test_an_address_with_a_secret_is_refused(url: str) -> None:
    """httpx2 writes addresses into its log; a query would swallow the endpoint, too."""
    with pytest.raises(ValueError, match="the server's address") as caught:
        Client(url)
    assert CANARY not in "".join(traceback.format_exception(caught.value)).replace(url, "")


def test_the_name_of_an_endpoint_has_no_query(caplog: pytest.LogCaptureFixture) -> None:
    """A query may have a key of another service's kind; our own lines and records are without it."""
    caplog.set_level(logging.DEBUG, logger="penstock.client")
    records: list[Record] = []
    with ScriptedServer([(FULL,)]) as server:
        client = Client(server.url, retries=QUICK, on_event=records.append, limits=Limits(rate=1000.0))
        with client, pytest.raises(errors.QueueFull) as caught:
            client.call(f"classify?key={CANARY}")
    lines = [record.getMessage() for record in caplog.records if record.name == "penstock.client"]
    assert lines
    assert CANARY not in repr([lines, records, str(caught.value), vars(caught.value)])
