"""Mistakes of a program that calls: each is refused before anything is sent, with the name, the cause and the fix."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from typing import Any

import httpx2
import msgspec
import pytest

from penstock_client import AsyncClient, BreakerSettings, Client, Limits, Retries, Timeouts, errors
from tests.client.drivers import DRIVERS, Act, call, one, stream
from tests.client.scripted_server import ScriptedServer, answer

ONCE = Retries(max_attempts=1)
NAN = float("nan")
CLIENTS = (Client, AsyncClient)

SETTINGS = {
    "a number of seconds": ({"timeouts": 5}, "timeouts=5 is not Timeouts; write timeouts=Timeouts(total=5)"),
    "no seconds": ({"timeouts": 0}, "write timeouts=Timeouts(total=0)"),
    "a number of retries": ({"retries": 3}, "retries=3 is not Retries; write retries=Retries(max_attempts=3)"),
    "no retries": ({"retries": False}, "retries=False turns nothing off; write retries=Retries(max_attempts=1)"),
    "a number of connections": ({"limits": 10}, "write limits=Limits(max_connections=10)"),
    "a dict of limits": ({"limits": {"rate": 5}}, "limits={'rate': 5} is not Limits; write limits=Limits(...)"),
    "no breaker": ({"breaker": False}, "breaker=False turns nothing off; write breaker=None"),
    "a breaker": ({"breaker": True}, "breaker=True is not BreakerSettings; write breaker=BreakerSettings(...)"),
    "a number of calls": ({"breaker": 7}, "write breaker=BreakerSettings(calls=7)"),
    "the class itself": ({"timeouts": Timeouts}, "write timeouts=Timeouts(...)"),
    "a key in bytes": ({"key": b"k"}, "key is text, or a function that returns text, and not bytes"),
    "no headers": ({"headers": [("a", "b")]}, "headers is a dict of names and values, and not list"),
    "a header that is a number": ({"headers": {"x-a": 1}}, "the header 'x-a' is text, and not int"),
    "a hook that is not one": ({"on_event": "print"}, "on_event='print' is not a function"),
    "another client": ({"http_client": object()}, "sends with an httpx2."),
}


@pytest.mark.parametrize("case", SETTINGS)
@pytest.mark.parametrize("kind", CLIENTS)
def test_a_setting_of_another_type_is_refused(kind: Callable[..., Any], case: str) -> None:
    """The message says what to write in its place."""
    settings, message = SETTINGS[case]
    with pytest.raises(TypeError) as caught:
        kind("http://test", **settings)
    assert message in str(caught.value)


@pytest.mark.parametrize("kind", CLIENTS)
def test_a_view_checks_its_settings_too(kind: Callable[..., Any]) -> None:
    """``with_options`` has the same messages."""
    client = kind("http://test")
    with pytest.raises(TypeError, match=r"write timeouts=Timeouts\(total=2.5\)"):
        client.with_options(timeouts=2.5)
    with pytest.raises(TypeError, match=r"write retries=Retries\(max_attempts=2\)"):
        client.with_options(retries=2)
    with pytest.raises(ValueError, match="the key cannot be sent"):
        client.with_options(key="a\nb")


def test_a_hedge_is_one() -> None:
    """Seconds alone are written into it; ``hedge=None`` is what turns it off."""
    with pytest.raises(TypeError, match=r"hedge=0.5 is not Hedge; write hedge=Hedge\(after=0.5\)"):
        AsyncClient("http://test", hedge=0.5)
    with pytest.raises(TypeError, match="write hedge=None"):
        AsyncClient("http://test", hedge=False)


def test_the_client_of_the_other_kind_is_refused() -> None:
    """An async client of httpx2 cannot send for ``Client``, and the message says which one can."""
    with pytest.raises(TypeError, match=r"Client sends with an httpx2\.Client"):
        Client("http://test", http_client=httpx2.AsyncClient())
    with httpx2.Client() as http, pytest.raises(TypeError, match=r"AsyncClient sends with an httpx2\.AsyncClient"):
        AsyncClient("http://test", http_client=http)


URLS = {
    "localhost:8000": (ValueError, "'localhost:8000' is not a server's address"),
    "http://[::1": (ValueError, "the server's address cannot be read"),
    "http://test\n": (ValueError, "the server's address cannot be read"),
}


@pytest.mark.parametrize("url", [None, 8000, b"http://test", *URLS])
@pytest.mark.parametrize("kind", CLIENTS)
def test_an_address_that_is_not_one_is_refused(kind: Callable[..., Any], url: Any) -> None:
    """A port alone, bytes, half an IPv6 address: the message says how to write it."""
    error, message = URLS.get(url, (TypeError, f"the server's address is text, and not {url!r}"))
    with pytest.raises(error) as caught:
        kind(url)
    assert message in str(caught.value)
    assert "http://host:port" in str(caught.value)


FIELDS = [
    lambda: Timeouts(total="5"),
    lambda: Timeouts(idle=-1),
    lambda: Retries(max_attempts="3"),
    lambda: Retries(base=NAN),
    lambda: Limits(rate="5"),
    lambda: Limits(rate=NAN),
    lambda: BreakerSettings(window="30"),
    lambda: BreakerSettings(share=None),
]


@pytest.mark.parametrize("make", FIELDS)
def test_a_field_that_is_not_a_number_is_refused(make: Callable[[], object]) -> None:
    """The message names the class, the field and the value."""
    with pytest.raises(ValueError, match=r"^\w+\(\w+=.*\): give "):
        make()


class Reading(msgspec.Struct):
    name: str
    value: float | None


CALLS = {
    "no endpoint": (call(""), ValueError, "has no path; write that of an endpoint, such as 'classify'"),
    "the root": (call("/"), ValueError, "endpoint='/' has no path"),
    "a query alone": (call("?a=1"), ValueError, "has no path"),
    "not text": (call(5), TypeError, "an endpoint is its path, such as 'classify', and not 5"),
    "a function": (call(len), TypeError, "an endpoint is its path"),
    "a line": (call("a\nb"), ValueError, "has a character that a path cannot have"),
    "an address": (call("http://test/classify"), ValueError, "write the path alone"),
    "no seconds": (call(timeout=0), ValueError, "timeout=0: give seconds above 0"),
    "negative seconds": (call(timeout=-1.5), ValueError, "timeout=-1.5: give seconds above 0"),
    "seconds that are NaN": (call(timeout=NAN), ValueError, "timeout=nan: give seconds above 0"),
    "seconds as text": (call(timeout="5"), TypeError, "timeout='5': give seconds above 0, as a number"),
    "time-outs for seconds": (call(timeout=Timeouts(total=5)), TypeError, "give seconds above 0, as a number"),
    "a method in lower case": (call(method="get"), ValueError, "write it in capitals, such as 'GET'"),
    "a method with a line": (call(method="GET\r\n"), ValueError, "is not a method"),
    "a method that is not text": (call(method=None), TypeError, "method=None"),
    "a key with a line": (call(idempotency_key="a\nb"), ValueError, "idempotency_key cannot be sent"),
    "a key that is a number": (call(idempotency_key=7), TypeError, "idempotency_key is text, and not int"),
    "a header with a line": (call(headers={"x-a\n": "b"}), ValueError, "is not the name of a header"),
    "a value with a line": (call(headers={"x-a": "b\nc"}), ValueError, "the header 'x-a' cannot be sent"),
    "an object": (call(body={"a": object()}), TypeError, "the body cannot be written as JSON"),
    "a function in the body": (call(body=[print]), TypeError, "the body cannot be written as JSON"),
    "NaN": (call(body={"rows": [[1.0, NAN]]}), ValueError, "$.rows[0][1] is nan; send None if it is missing"),
    "an infinity": (call(body=(None, float("-inf"))), ValueError, "$[1] is -inf"),
    "NaN in a struct": (call(body=Reading("null", NAN)), ValueError, "$.value is nan"),
    "NaN for a stream": (Act("write", NAN, is_stream=True), ValueError, "$ is nan"),
    "no endpoint for a stream": (Act("", {}, is_stream=True), ValueError, "has no path"),
    "negative seconds for a stream": (stream(timeout=-1), ValueError, "give seconds above 0"),
}


@pytest.mark.parametrize("case", CALLS)
@pytest.mark.parametrize("driver", DRIVERS)
def test_a_call_that_cannot_be_sent_is_refused(driver: str, case: str) -> None:
    """Nothing has arrived at the server."""
    act, error, message = CALLS[case]
    with ScriptedServer([(answer(),)]) as server:
        outcome = one(driver, server.url, act)
        assert server.connections == 0
    assert type(outcome) is error
    assert message in str(outcome)


NULLS = [None, {"a": None}, "null", {"null": 1.5}, Reading("x", None), [1e308, {1: None}], [msgspec.Raw(b"null")]]


@pytest.mark.parametrize("body", NULLS)
def test_a_body_with_null_is_sent(body: Any) -> None:
    """None and the word are not NaN."""
    with ScriptedServer([(answer(),)]) as server, Client(server.url) as client:
        client.call("classify", body)
        assert server.requests[0].body == (b"" if body is None else msgspec.json.encode(body))


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_key_function_that_returns_no_text_is_refused(driver: str) -> None:
    """Its key is checked before the request is sent."""
    with ScriptedServer([(answer(),)]) as server:
        outcome = one(driver, server.url, call(), key=lambda: None)
        assert server.connections == 0
    assert type(outcome) is TypeError
    assert "key is text" in str(outcome)


# ---- a server that is not there


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_refused_connection_names_the_server_and_the_fix(driver: str) -> None:
    """Its address, the cause in the same words for each client, and a question."""
    url = f"http://127.0.0.1:{closed_port()}"
    outcome = one(driver, f"{url}/under/a/path", call(), retries=ONCE)
    assert type(outcome) is errors.ConnectionFailed
    assert str(outcome) == (
        f"The server cannot be reached: {url}: it refuses the connection; is the server running, and is this its port?"
    )


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_name_without_an_address_is_named(driver: str) -> None:
    """The names under .invalid never have one."""
    outcome = one(driver, "http://models.invalid:8000", call(), retries=ONCE)
    assert type(outcome) is errors.ConnectionFailed
    assert "http://models.invalid:8000: its name has no address" in str(outcome)
    assert "is it spelled correctly?" in str(outcome)


@pytest.mark.parametrize("driver", DRIVERS)
def test_https_to_a_server_without_it_is_named(driver: str) -> None:
    """A server of plain HTTP answers the first bytes of TLS with text."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def respond() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(answer(status=400))

        thread = threading.Thread(target=respond)
        thread.start()
        url = f"https://127.0.0.1:{listener.getsockname()[1]}"
        outcome = one(driver, url, call(), retries=ONCE)
        thread.join()
    assert type(outcome) is errors.ConnectionFailed
    assert f"{url}: TLS fails" in str(outcome)
    assert "does the server speak https on this port?" in str(outcome)


def test_a_transport_of_the_programs_own_has_its_own_words() -> None:
    """An error without a request has no address; its text stays."""

    def respond(request: httpx2.Request) -> httpx2.Response:
        raise httpx2.ConnectError("the tunnel is down")

    client = Client("http://test", retries=ONCE, http_client=httpx2.Client(transport=httpx2.MockTransport(respond)))
    with pytest.raises(errors.ConnectionFailed, match=r"the tunnel is down; is the server running\?"):
        client.call("classify")
