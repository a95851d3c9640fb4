"""The call that ``penstock serve`` prints: its example values, and its address."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import os
import shlex
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, Optional

import msgspec
import pydantic
import pytest

from penstock import App, Batching, Upload
from penstock_cli.example_calls import curl_call
from penstock_cli.example_values import examples_of
from tests.serving import Served, write_app

URL = "http://127.0.0.1:8000"
FILE = "@test_example_calls.py"
Meta = msgspec.Meta


class Color(enum.Enum):
    RED = "red"


class Tree(msgspec.Struct):
    children: list[Tree] = []
    left: Optional[Tree] = None  # noqa: UP045 - evaluated at run time
    value: int = 0


@dataclasses.dataclass
class Order:
    article: str
    at: dt.datetime
    count: int = 1


class Model(pydantic.BaseModel):
    name: Annotated[str, pydantic.Field(min_length=9)]
    size: pydantic.PositiveInt
    order: Order
    color: Color
    words: int = pydantic.Field(examples=[12])


class Strict(pydantic.BaseModel):
    code: Annotated[str, pydantic.Field(pattern="^[A-Z]{3}-[0-9]+$")]


def app_with(*annotations: Any) -> App:
    """Return an app with an endpoint for each annotation, that of its parameter."""
    app = App(__name__)
    for place, annotation in enumerate(annotations):

        def handler(value: Any) -> None: ...

        handler.__annotations__["value"] = annotation
        app.endpoint(f"/{place}", name=f"e{place}")(handler)
    return app


@pytest.mark.parametrize(
    "annotation",
    [
        float,
        int,
        str,
        bool,
        None,
        Any,
        Color,
        Tree,
        Order,
        Model,
        list[Model],
        dict[str, float],
        tuple[int, str],
        list[list[float]],
        Literal["b", "a"],
        int | None,
        Order | None,
        dt.date,
        dt.time,
        dt.timedelta,
        uuid.UUID,
        Decimal,
        Annotated[float, Meta(gt=0, lt=1)],
        Annotated[float, Meta(ge=-2.5, le=-1)],
        Annotated[int, Meta(ge=10)],
        Annotated[int, Meta(le=-10)],
        Annotated[int, Meta(gt=4, lt=6)],
        Annotated[int, Meta(multiple_of=5, gt=5)],
        Annotated[str, Meta(min_length=9)],
        Annotated[str, Meta(max_length=2)],
        Annotated[list[int], Meta(min_length=3)],
        Annotated[list[int], Meta(max_length=0)],
        Annotated[int, Meta(examples=[77])],
    ],
    ids=repr,
)
def test_an_example_fits_its_schema(annotation: Any) -> None:
    """The call has a body that the endpoint takes."""
    app = app_with(annotation)
    call = curl_call(app, URL)
    assert call is not None
    *options, body, url = shlex.split(call)
    assert (options, url) == (["curl", "-H", "Content-Type: application/json", "-d"], f"{URL}/0")
    app.endpoints[0].codec.validate(body.encode())


def test_an_example_is_short() -> None:
    """Only what is required; examples and defaults of the schema come before made-up values."""

    def handler(input: float, name: str, more: int = 5) -> None: ...

    app = App(__name__)
    app.endpoint("/square")(handler)
    assert next(examples_of(app.endpoints[0].codec.input_schema())) == {"input": 3, "name": "text"}
    (model,) = app_with(Model).endpoints
    assert next(examples_of(model.codec.input_schema()))["words"] == 12


def test_the_first_endpoint_with_an_example_is_called() -> None:
    """There is none for a pattern that no text of ours matches; then it is the next one."""
    call = curl_call(app_with(Strict, int), URL)
    assert call is not None
    assert call.endswith("/1")
    assert curl_call(app_with(Strict), URL) is None


def test_bytes_are_those_of_a_file_that_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """The app's own, as seen from the current folder."""

    def handler(body: bytes) -> int: ...

    app = App(__name__)
    app.endpoint("/upload")(handler)
    monkeypatch.chdir(Path(__file__).parent)
    assert curl_call(app, URL) == f"curl --data-binary @test_example_calls.py {URL}/upload"
    monkeypatch.chdir("/")
    assert curl_call(app, URL) == f"curl --data-binary @{__file__.lstrip('/')} {URL}/upload"


def show(user_id: int, tags: list[str], day: dt.date, deep: bool = False) -> None: ...


def change(user_id: int, name: str) -> None: ...


def order(user_id: int, order: Order) -> None: ...


def keep(user_id: int, body: bytes) -> None: ...


def caption(user_id: str, picture: Upload, words: int, others: list[Upload], note: str = "") -> None: ...


def alone(pictures: list[Upload]) -> None: ...


JSON = "-H 'Content-Type: application/json' -d"
USER = "/users/{user_id}"


@pytest.mark.parametrize(
    ("handler", "path", "options", "call"),
    [
        (show, USER, {"method": "GET"}, f"'{URL}/users/3?tags=text&day=2026-01-31'"),
        (show, "/users", {"method": "GET"}, f"'{URL}/users?user_id=3&tags=text&day=2026-01-31'"),
        (change, USER, {}, f'{JSON} \'{{"name": "text"}}\' {URL}/users/3'),
        (
            order,
            USER,
            {},
            f'{JSON} \'{{"article": "2026-01-31T12:00:00Z", "at": "2026-01-31T12:00:00Z"}}\' {URL}/users/3',
        ),
        (keep, USER, {}, f"--data-binary @test_example_calls.py {URL}/users/3"),
        (
            caption,
            USER,
            {},
            f"-F picture={FILE} --form-string words=3 -F others={FILE} {URL}/users/text",
        ),
        (alone, "/alone", {}, f"-F pictures=@test_example_calls.py {URL}/alone"),
        (alone, "/alone", {"batching": Batching(max_size=2)}, f"-F pictures=@test_example_calls.py {URL}/alone"),
    ],
)
def test_each_parameter_is_where_it_belongs(
    monkeypatch: pytest.MonkeyPatch, handler: Any, path: str, options: dict[str, Any], call: str
) -> None:
    """Variables in the path, parameters of a GET endpoint in the query, and files in a form."""
    monkeypatch.chdir(Path(__file__).parent)
    app = App(__name__)
    app.endpoint(path, **options)(handler)
    assert curl_call(app, URL) == f"curl {call}"


def test_a_stream_is_not_buffered() -> None:
    """So each chunk is shown as it arrives."""

    def handler() -> Iterator[int]: ...

    app = App(__name__)
    app.endpoint("/count")(handler)
    assert curl_call(app, URL) == f"curl -N -H 'Content-Type: application/json' -d '{{}}' {URL}/count"


@pytest.mark.parametrize(
    ("url", "arguments"),
    [
        ("https://0.0.0.0:8443", "https://127.0.0.1:8443/0"),
        ("http://[::]:80", "'http://[::1]:80/0'"),
        ("unix:/run/a b", "--unix-socket '/run/a b' http://localhost/0"),
        ("unix:@penstock", "--abstract-unix-socket penstock http://localhost/0"),
    ],
)
def test_the_address_is_one_that_a_client_can_use(url: str, arguments: str) -> None:
    """Not "every address of this machine", and for a Unix socket with curl's option."""
    assert (curl_call(app_with(int), url) or "").partition("'{\"value\": 3}' ")[2] == arguments


@pytest.mark.parametrize(
    ("schemes", "header"),
    [
        ([{"type": "http", "scheme": "bearer"}, {"type": "apiKey"}], "Authorization: Bearer $API_KEY"),
        ([{"type": "mutualTLS"}, {"type": "apiKey", "in": "header", "name": "X-API-Key"}], "X-API-Key: $API_KEY"),
        ([{"type": "apiKey", "in": "query", "name": "key"}], None),
        ([{"type": "apiKey", "in": "header", "name": '$(rm "x")'}], None),
    ],
)
def test_a_credential_comes_from_a_variable(schemes: list[dict[str, str]], header: str | None) -> None:
    """The shell puts it in; the call itself never has one."""
    call = curl_call(app_with(int), URL, lambda _endpoint: schemes)
    assert call == "curl" + (f' -H "{header}"' if header else "") + f" {JSON} '{{\"value\": 3}}' {URL}/0"


SERVED = """
    from penstock import App, Upload

    app = App(__name__)

    @app.endpoint("/users/{user}/caption")
    def caption(user: int, picture: Upload, titles: list[str]) -> list[object]:
        return [user, picture.name, titles]
"""


@pytest.mark.e2e
@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
def test_the_call_of_a_form_works(tmp_path: Path) -> None:
    """As the server prints it, with the key of a caller in the environment."""
    write_app(tmp_path, SERVED, "demo.py")
    key = "a-key-of-alice-for-the-test"
    keys = {"PENSTOCK_AUTH_KEYS": f"alice={key}"}
    with Served("demo.py", "--log-format", "json", folder=tmp_path, environment=keys) as served:
        (printed,) = served.events("try")
        called = subprocess.run(
            printed["message"],
            shell=True,
            cwd=tmp_path,
            env={**os.environ, "API_KEY": key},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert called.stdout == '[3,"demo.py",["text"]]'
