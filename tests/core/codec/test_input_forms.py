"""Inputs from paths, queries and forms: the same parameters as in JSON, and the same errors."""

from __future__ import annotations

import contextlib
import datetime as dt
import enum
import uuid
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

import msgspec
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock import Upload
from penstock.codec.codec import Codec, codec_for
from penstock.context import Context
from penstock.errors import InvalidRequest, MalformedRequest, PayloadTooLarge, PenstockError, UnsupportedMediaType
from penstock.wire import InputForm
from tests.core.codec.sample_types import Box, Options, Point, Relaxed, Sealed, Shape

URLENCODED = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data; boundary=edge"
Part = tuple[str, bytes]


def routed(function: Any, *path_names: str, query: bool = False, batched: bool = False, **names: Any) -> Codec:
    return codec_for(
        function,
        owner="endpoint 'it'",
        batched=batched,
        namespace={**globals(), **names},
        path_names=path_names,
        reads_query=query,
    )


def multipart(*parts: Part) -> bytes:
    """Return a form of parts, each with its Content-Disposition after ``form-data; name=`` and its content."""
    pieces = [
        b"--edge\r\nContent-Disposition: form-data; name=" + head.encode() + b"\r\n\r\n" + content + b"\r\n"
        for head, content in parts
    ]
    return b"".join(pieces) + b"--edge--\r\n"


def from_query(annotation: Any, text: str) -> Any:
    """Return the value that a parameter of this type, called ``it``, has in a query."""

    def handler(it: annotation) -> Any:
        return it

    its = routed(handler, query=True, annotation=annotation)
    return its.call(handler, its.decode(b"", its.input_form({}, text, "")))


def from_form(function: Any, body: bytes, media_type: str = MULTIPART, **options: Any) -> Any:
    its = routed(function, **options)
    form = its.input_form({}, "", media_type)
    its.validate(body, form)
    return its.call(function, its.decode(body, form))


def refusal(function: Any, body: bytes, media_type: str = MULTIPART, **options: Any) -> PenstockError:
    with pytest.raises(PenstockError) as caught:
        from_form(function, body, media_type, **options)
    return caught.value


class Level(enum.Enum):
    LOW = "low"


# ---- text becomes values


@pytest.mark.parametrize(
    ("annotation", "text", "value"),
    [
        (int, "it=5", 5),
        (int, "it=-5", -5),
        (float, "it=1e3", 1000.0),
        (bool, "it=true", True),
        (bool, "it=1", True),
        (bool, "it=false", False),
        (bool, "it=0", False),
        (bool, "it=on", True),
        (bool | None, "it=off", False),
        (bool | int, "it=1", 1),
        (str, "it=a+b%20c%26", "a b c&"),
        (str, "it=", ""),
        (str, "it=5", "5"),
        (str | None, "it=null", "null"),
        (int | None, "it=null", None),
        (int | str, "it=5", "5"),
        (Literal["a", "b"], "it=a", "a"),
        (Literal[1, 2], "it=2", 2),
        (Level, "it=low", Level.LOW),
        (dt.date, "it=2026-11-29", dt.date(2026, 11, 29)),
        (uuid.UUID, f"it={uuid.UUID(int=7)}", uuid.UUID(int=7)),
        (Annotated[int, msgspec.Meta(ge=3)], "it=3", 3),
        (Annotated[int, pydantic.Field(ge=3)], "it=3", 3),
        (list[int], "it=1&it=2", [1, 2]),
        (list[int], "it=1", [1]),
        (list[int], "it[]=1&it[]=2", [1, 2]),
        (list[str], "it=&it=a", ["", "a"]),
        (list[int] | None, "it=1", [1]),
        (set[int], "it=1&it=1", {1}),
        (tuple[int, str], "it=1&it=b", (1, "b")),
        (Annotated[list[int], pydantic.Field(min_length=1)], "it=1&it=2", [1, 2]),
        (list[Point], 'it={"x":1}&it={"x":2}', [Point(1.0), Point(2.0)]),
        (list[list[int]], "it=[1,2]&it=[3]", [[1, 2], [3]]),
        (dict[str, int], 'it={"a":1}', {"a": 1}),
        (int | dict[str, int], 'it={"a":1}', {"a": 1}),
        (int | dict[str, int], "it=7", 7),
        (str | dict[str, int], "it=7", "7"),
        (str | dict[str, int], 'it={"a":1}', {"a": 1}),
        (Point | None, 'it={"x":1}', Point(1.0)),
        (Any, "it=7", 7),
        (Any, "it=seven", "seven"),
    ],
)
def test_text_becomes_a_value_of_the_type(annotation: Any, text: str, value: Any) -> None:
    """Numbers, truth values and dates by their usual texts, lists by repeated names, the rest as JSON."""
    found = from_query(annotation, text)
    assert (type(found), found) == (type(value), value)


@pytest.mark.parametrize(
    ("annotation", "text", "path", "words"),
    [
        (int, "it=five", "$.it", "Expected `int`, got `str`"),
        (int, "it=1&it=2", "$.it", "given more than once"),
        (int, "", "$.it", "required but missing"),
        (int, "it=", "$.it", "required but missing"),
        (float, "it=nan", "$.it", "nan is not a number"),
        (float, "it=-Infinity", "$.it", "-Infinity is not a number"),
        (bool, "it=perhaps", "$.it", "Expected `bool`"),
        (list[int], "it=1&it=b", "$.it[1]", "Expected `int`"),
        (dict[str, int], "it=a", "$.it", "not JSON"),
        (dict[str, int], 'it={"a":"b"}', "$.it[...]", "Expected `int`"),
        (Literal["a"], "it=b", "$.it", "Invalid enum value"),
        (int, "it=1&more=2", "$.more", "unknown query parameter"),
        (int, "it=1&it[]=2", "$.it[]", "unknown query parameter"),
        (Annotated[int, pydantic.Field(ge=3)], "it=1", "$.it", "greater than or equal to 3"),
    ],
)
def test_a_misfit_in_a_query_names_its_parameter(annotation: Any, text: str, path: str, words: str) -> None:
    """The same 422 as for a field of a body: ``param``, and the path and reason of the fault."""
    with pytest.raises(InvalidRequest) as caught:
        from_query(annotation, text)
    error = caught.value
    assert (error.status, error.errors[0]["path"]) == (422, path)
    assert words in error.errors[0]["reason"]
    assert error.param == path[2:].partition("[")[0]


def test_a_query_that_is_not_utf8_is_malformed() -> None:
    """Bytes that are not UTF-8 are a 400, as in a body."""
    with pytest.raises(MalformedRequest, match="the query is not UTF-8"):
        from_query(str, "it=%ff")


def test_a_query_of_a_thousand_fields_is_enough() -> None:
    """The number of fields has a limit, so that no request costs out of proportion."""
    with pytest.raises(PayloadTooLarge, match="at most 1000 fields"):
        from_query(list[int], "&".join(["it=1"] * 1001))


# ---- paths


def caption(user_id: int, words: int = 12, *, ctx: Context) -> Any:
    return user_id, words, ctx


def on_user(its: Codec, user_id: str, body: bytes, media_type: str = "") -> Any:
    form = its.input_form({"user_id": user_id}, "words=5", media_type)
    its.validate(body, form)
    return its.decode(body, form)


def test_a_variable_stands_beside_the_fields_of_the_body() -> None:
    """The path has its parameters, the body the others; the query of a POST is not read."""
    its, context = routed(caption, "user_id"), Context()
    assert its.call(caption, on_user(its, "7", b'{"words": 3}'), context) == (7, 3, context)
    assert its.call(caption, on_user(its, "7", b""), context) == (7, 12, context)
    assert its.call(caption, on_user(its, "7", b"words=4", URLENCODED), context) == (7, 4, context)
    assert its.body_schema() is not None
    assert list((its.body_schema() or {})["properties"]) == ["words"]
    assert list(its.input_schema()["properties"]) == ["user_id", "words"]


@pytest.mark.parametrize(
    ("user_id", "body", "status", "param"),
    [
        ("seven", b"{}", 422, "user_id"),
        ("7", b'{"words": "three"}', 422, "words"),
        ("7", b'{"user_id": 8}', 422, "user_id"),
        ("7", b"{", 400, None),
        ("7\udcff", b"", 400, None),
        ("\ufffd", b"", 400, None),
    ],
)
def test_a_misfit_in_a_path_names_its_variable(user_id: str, body: bytes, status: int, param: str | None) -> None:
    """It is a 422 like those of the body, which may not repeat a variable of the path."""
    with pytest.raises(InvalidRequest) as caught:
        on_user(routed(caption, "user_id"), user_id, body)
    assert (caught.value.status, caught.value.param) == (status, param)


def test_an_embedding_program_passes_all_parameters_in_one_mapping() -> None:
    """Without a path and a query there is one object, bytes and structs included."""

    def handler(user_id: int, body: bytes) -> Any:
        return user_id, body

    its = routed(handler, "user_id")
    assert its.call(handler, its.decode(its.encode_input({"user_id": 7, "body": b"\xff"}))) == (7, b"\xff")
    assert its.call(handler, on_user(its, "7", b"\xff\xfe")) == (7, b"\xff\xfe")
    assert its.reads == "bytes"


def test_a_struct_beside_a_variable_is_the_rest_of_the_body() -> None:
    """One struct is the whole body, even if there is a variable in the path."""

    def handler(user_id: int, point: Point) -> Any:
        return user_id, point

    its = routed(handler, "user_id")
    assert its.call(handler, on_user(its, "7", b'{"x": 1}')) == (7, Point(1.0))
    assert its.call(handler, on_user(its, "7", b"x=1&y=2", URLENCODED)) == (7, Point(1.0, 2.0))
    assert its.call(handler, its.decode(b'{"user_id": 7, "point": {"x": 1}}')) == (7, Point(1.0))


def test_nothing_but_a_variable_needs_no_body() -> None:
    """An empty body will do, and a field in it is unknown."""

    def handler(user_id: int) -> int:
        return user_id

    its = routed(handler, "user_id")
    assert its.call(handler, on_user(its, "7", b"")) == 7
    with pytest.raises(InvalidRequest) as caught:
        on_user(its, "7", b'{"more": 1}')
    assert caught.value.param == "more"


def test_batches_have_variables_and_queries_too() -> None:
    """With batching each parameter is a list, with one value from each request."""

    def handler(user_id: list[int], text: list[str]) -> Any:
        return user_id, text

    its = routed(handler, "user_id", batched=True)
    assert its.call(handler, [on_user(its, "7", b'{"text": "a"}'), on_user(its, "8", b"text=b", URLENCODED)]) == (
        [7, 8],
        ["a", "b"],
    )
    its = routed(handler, "user_id", batched=True, query=True)
    inputs = [its.decode(b"", its.input_form({"user_id": user}, f"text={user}", "")) for user in "12"]
    assert its.call(handler, inputs) == ([1, 2], ["1", "2"])


def test_a_variable_cannot_be_given_in_the_query_too() -> None:
    """It comes from the path only: in the query its name is unknown."""
    its = routed(caption, "user_id", query=True)
    with pytest.raises(InvalidRequest) as caught:
        its.decode(b"", its.input_form({"user_id": "7"}, "user_id=8", ""))
    assert caught.value.errors == [{"path": "$.user_id", "reason": "unknown query parameter"}]


def test_parameters_say_where_they_come_from() -> None:
    """Descriptions of an endpoint need the source, the schema and the definitions of each parameter."""

    def handler(user_id: int, point: Point, files: list[Upload], note: str = "") -> None: ...

    its = routed(handler, "user_id")
    assert [(p.name, p.source, p.required, p.is_file) for p in its.parameters] == [
        ("user_id", "path", True, False),
        ("point", "body", True, False),
        ("files", "body", True, True),
        ("note", "body", False, False),
    ]
    assert its.parameters[1].schema["$defs"].keys() == {"Point"}
    assert "$defs" not in its.parameters[3].schema
    assert [field.name for field in its.form_fields] == ["point", "files", "note"]
    assert its.reads == "form"

    def whole(point: Point) -> None: ...

    assert [p.name for p in routed(whole).parameters] == ["point"]
    assert [field.name for field in routed(whole).form_fields] == ["x", "y"]


# ---- forms


def describe(title: str, size: int = 1, tags: list[str] = [], on: bool = False) -> Any:  # noqa: B006 - it is copied
    return title, size, tags, on


@pytest.mark.parametrize(
    ("body", "media_type", "value"),
    [
        (b"title=a+b&size=3", URLENCODED, ("a b", 3, [], False)),
        (b"title=%C3%BC&tags=a&tags=b", f"{URLENCODED}; charset=utf-8", ("\xfc", 1, ["a", "b"], False)),
        ("title=\xfc&on=true".encode(), URLENCODED, ("\xfc", 1, [], True)),
        (b"title=&size=&tags[]=a\r\n", URLENCODED, ("", 1, ["a"], False)),
        (multipart(('"title"', b"a"), ('"tags"', b"x"), ('"tags"', b"y")), MULTIPART, ("a", 1, ["x", "y"], False)),
        (multipart(('"title"', "\xfc".encode()), ('"size"', b"4")), MULTIPART, ("\xfc", 4, [], False)),
        (multipart(("title", b"a\r\nb")), 'Multipart/Form-Data; boundary="edge"', ("a\r\nb", 1, [], False)),
    ],
)
def test_a_form_has_the_fields_of_the_json(body: bytes, media_type: str, value: Any) -> None:
    """Both kinds of form give the parameters of the handler; what a browser leaves empty has its default."""
    assert from_form(describe, body, media_type) == value


@pytest.mark.parametrize(
    ("annotation", "body", "value"),
    [
        (Point, b"x=1&y=2", Point(1.0, 2.0)),
        (Box, b'width=3&corner={"x":1}', Box(3, Point(1.0))),
        (Options, b"depth=3&title=5", {"depth": 3, "title": "5"}),
        (Relaxed, b"size=3&tags=1&tags=2&other=x", Relaxed(size=3, tags=[1, 2])),
        (Sealed, b"size=4", Sealed(size=4)),
        (Shape, b"type=shape&sideLength=2", Shape(2.0)),
    ],
)
def test_a_form_fills_a_struct(annotation: Any, body: bytes, value: Any) -> None:
    """A struct that is the whole body has its fields in the form, under their names in JSON."""

    def handler(whole: annotation) -> Any:
        return whole

    assert from_form(handler, body, URLENCODED, annotation=annotation) == value
    if annotation is not Relaxed:  # a model decides that itself
        assert refusal(handler, b"strange=1&" + body, URLENCODED, annotation=annotation).param == "strange"


@pytest.mark.parametrize(
    ("body", "media_type", "kind", "words"),
    [
        (b'{"title": "a"}', URLENCODED, UnsupportedMediaType, "the body is JSON, but was announced as"),
        (b"title=%ff", URLENCODED, MalformedRequest, "the form is not UTF-8"),
        (b"title=\xff", URLENCODED, MalformedRequest, "the form is not UTF-8"),
        (b"&".join([b"tags=a"] * 1001), URLENCODED, PayloadTooLarge, "at most 1000 fields"),
        (b"title=a&title=b", URLENCODED, InvalidRequest, r"\$.title: given more than once"),
        (b"nothing=a", URLENCODED, InvalidRequest, r"\$.nothing: unknown field"),
        (b"", MULTIPART, MalformedRequest, "the form cannot be read"),
        (multipart(('"title"', b"a")), "multipart/form-data", MalformedRequest, "has no boundary"),
        (multipart(('"title"', b"a")), "multipart/form-data; boundary=", MalformedRequest, "has no boundary"),
        (multipart(('"title"', b"a")), "multipart/form-data; boundary=other", MalformedRequest, "cannot be read"),
        (multipart(('"title"', b"a"))[:-6], MULTIPART, MalformedRequest, "Unexpected end of multipart stream"),
        (multipart(('"title"', b"a" * 99))[:60], MULTIPART, MalformedRequest, "Unexpected end of multipart stream"),
        (b"--edge\r\nX: y\r\n\r\na\r\n--edge--\r\n", MULTIPART, MalformedRequest, "cannot be read"),
        (multipart(*[('"tags"', b"a")] * 65), MULTIPART, PayloadTooLarge, "at most 64 parts"),
        (multipart((f'"title"; x="{"y" * 9000}"', b"a")), MULTIPART, PayloadTooLarge, "8192 bytes of headers"),
        (multipart((f'"title"\r\nX: {"y" * 5000}\r\nZ: {"y" * 5000}', b"a")), MULTIPART, PayloadTooLarge, "8192"),
        (multipart(('"title"', b"\xff")), MULTIPART, InvalidRequest, r"\$.title: not UTF-8 text"),
    ],
)
def test_a_form_that_cannot_be_read_is_refused(body: bytes, media_type: str, kind: type, words: str) -> None:
    """400 for what cannot be a form, or is only the beginning of one; 413 for too much; 422 for what does not fit."""
    error = refusal(describe, body, media_type)
    assert type(error) is kind
    with pytest.raises(kind, match=words):
        raise error


# ---- files


def take(picture: Upload, words: int = 12) -> Any:
    return picture, words


def named(disposition: str, content: bytes = b"\x00\xff") -> Upload:
    picture, _ = from_form(take, multipart((f'"picture"; {disposition}', content)))
    assert isinstance(picture, Upload)
    return picture


def test_a_file_arrives_with_its_name_and_media_type() -> None:
    """A part with a file name is an ``Upload``, beside fields of any other type."""
    head = '"picture"; filename="cat.png"\r\nContent-Type: image/png'
    picture, words = from_form(take, multipart((head, b"\x89PNG\r\n--edg"), ('"words"', b"3")))
    assert (picture.name, picture.media_type, picture.content, words) == (
        "cat.png",
        "image/png",
        b"\x89PNG\r\n--edg",
        3,
    )
    assert (picture.size, picture.open().read(4)) == (11, b"\x89PNG")
    assert repr(picture) == "<Upload 'cat.png', image/png, 11 bytes>"
    assert named('filename="x"').media_type == "application/octet-stream"


@pytest.mark.parametrize(
    ("disposition", "name"),
    [
        ('filename="\xfc \u4f60.png"', "\xfc \u4f60.png"),
        ("filename*=UTF-8''na%C3%AFve.txt", "na\xefve.txt"),
        ("filename=\"a.txt\"; filename*=utf-8'en'%e2%82%ac.txt", "\u20ac.txt"),
        ("filename*=latin-1''%FC.txt", "\xfc.txt"),
        ("filename=\"a.txt\"; filename*=nonsense''b.txt", "a.txt"),
        ("filename=\"; filename*=UTF-8''b.txt\"", "; filename*=UTF-8''b.txt"),
        ('filename="../../etc/passwd"', "passwd"),
        ('filename="..\\\\..\\\\boot.ini"', "boot.ini"),
        ('filename="C:\\Users\\me\\cat.png"', "cat.png"),
        ("filename*=UTF-8''..%2F..%2Fetc%2Fpasswd", "passwd"),
        ('filename=".."', ""),
        ('filename="/"', ""),
        ('filename="a\x00\x1b\u202eb%0D%0A.txt"', "ab.txt"),
        ('filename="a%22b.txt"', 'a"b.txt'),
        (f'filename="{"n" * 400}"', "n" * 255),
    ],
)
def test_the_name_of_a_file_can_do_no_harm(disposition: str, name: str) -> None:
    """Neither folders nor control characters are left of it; letters of any language are."""
    assert named(disposition).name == name


@pytest.mark.parametrize(
    ("annotation", "parts", "value"),
    [
        (Upload, [('"it"; filename="a"', b"1")], Upload(b"1", "a")),
        (bytes, [('"it"; filename="a"', b"\xff")], b"\xff"),
        (bytes, [('"it"', b"\xff")], b"\xff"),
        (
            list[Upload],
            [('"it"; filename="a"', b"1"), ('"it"; filename="b"', b"2")],
            [Upload(b"1", "a"), Upload(b"2", "b")],
        ),
        (list[bytes], [('"it[]"; filename="a"', b"1"), ('"it[]"; filename="b"', b"2")], [b"1", b"2"]),
        (Annotated[bytes, pydantic.Field(max_length=3)], [('"it"; filename="a"', b"\xff")], b"\xff"),
        (list[int], [('"it"', b""), ('"it"', b"2")], [2]),
        (Upload | None, [], None),
        (Upload | None, [('"it"; filename=""', b"")], None),
        (str, [('"it"; filename="a.txt"', b"text")], "text"),
        (dict[str, int], [('"it"; filename="a.json"', b'{"a": 1}')], {"a": 1}),
    ],
)
def test_files_are_taken_as_annotated(annotation: Any, parts: list[Part], value: Any) -> None:
    """As uploads, as bytes, several of them, or none; a file of text can be a field as well."""

    def handler(it: annotation = None, more: int = 1) -> Any:
        return it

    def required(it: annotation, more: int = 1) -> Any:
        return it

    function = handler if value is None else required
    assert from_form(function, multipart(*parts), annotation=annotation) == value


def test_one_bytes_parameter_is_the_raw_body_or_a_file_by_its_name() -> None:
    """A raw body stays as it is, even one that curl announces as a form; a file comes by the parameter's name."""

    def handler(body: bytes) -> bytes:
        return body

    its = routed(handler)
    assert its.reads == "bytes"
    assert [its.form_type(kind) for kind in (None, URLENCODED, "image/png")] == ["", "", ""]
    assert from_form(handler, multipart(('"body"; filename="a"', b"\xff"))) == b"\xff"
    assert refusal(handler, multipart(('"file"; filename="a"', b"\xff"))).param == "file"

    def of_batch(bodies: list[bytes]) -> list[bytes]:
        return bodies

    its = routed(of_batch, batched=True)
    form = its.input_form({}, "", MULTIPART)
    assert its.call(of_batch, [its.decode(multipart(('"bodies"', b"a")), form), its.decode(b"b")]) == [b"a", b"b"]


def test_each_item_of_a_batch_has_its_own_file() -> None:
    """With batching a file is an item of its list, alone and beside other fields."""

    def alone(pictures: list[Upload]) -> Any:
        return [picture.name for picture in pictures]

    def beside(pictures: list[Upload], words: list[int] = 3) -> Any:  # type: ignore[assignment] # of one item
        return [picture.name for picture in pictures], words

    bodies = [multipart((f'"pictures"; filename="{name}"', b"")) for name in "ab"]
    for function, value in ((alone, ["a", "b"]), (beside, (["a", "b"], [3, 3]))):
        its = routed(function, batched=True)
        form = its.input_form({}, "", MULTIPART)
        assert its.reads == "form"
        assert its.call(function, [its.decode(body, form) for body in bodies]) == value


def test_files_inside_a_struct() -> None:
    """A struct that is the whole body may hold files."""

    class Request(msgspec.Struct):
        picture: Upload
        words: int = 3

    def handler(request: Request) -> Any:
        return request.picture.name, request.words

    assert routed(handler, Request=Request).reads == "form"
    assert from_form(handler, multipart(('"picture"; filename="a"', b"x")), Request=Request) == ("a", 3)


def test_a_dataclass_of_pydantics_holds_bytes() -> None:
    """The bytes of a file are the bytes of a field, although pydantic would take them for text in JSON."""

    @pydantic.dataclasses.dataclass
    class Request:
        picture: bytes
        words: Annotated[int, pydantic.Field(ge=1)] = 3

    def handler(request: Request) -> Any:
        return request.picture, request.words

    form = multipart(('"picture"; filename="a"', b"\xff"), ('"words"', b"2"))
    assert from_form(handler, form, Request=Request) == (b"\xff", 2)


class Branches(pydantic.RootModel[list["Branches"]]):
    """A type that contains itself in nothing but lists."""


def test_a_type_may_contain_itself() -> None:
    """A field that is repeated has items, and lists among these are JSON."""

    def handler(tree: Branches, n: int) -> Any:
        return tree.model_dump(), n

    assert from_form(handler, b"tree=%5B%5D&tree=%5B%5B%5D%5D&n=3", URLENCODED) == ([[], [[]]], 3)


def test_a_field_is_not_a_file() -> None:
    """A part without a file name is refused for an ``Upload``, with the way to send one."""
    error = refusal(take, multipart(('"picture"', b"x")))
    assert (error.param, error.detail) == ("picture", "$.picture: not a file; send one with curl -F picture=@FILE")


@pytest.mark.parametrize("picture", [Upload(b"\xff", "a.png", "image/png"), b"\xff"])
def test_an_embedding_program_passes_uploads_or_bytes(picture: Any) -> None:
    """Without HTTP there is no form: the upload itself is passed, or its bytes."""
    its = routed(take)
    found, words = its.call(take, its.decode(its.encode_input({"picture": picture, "words": 2})))
    assert (found.content, words) == (b"\xff", 2)
    assert found.name == getattr(picture, "name", "")
    with pytest.raises(InvalidRequest) as caught:
        its.decode(its.encode_input({"picture": 5}))
    assert caught.value.param == "picture"


def test_a_large_form_is_put_together_again() -> None:
    """A file of several pieces, with ends of lines and half boundaries all over, is the same afterwards."""
    content = (b"\r\n--edg" + bytes(range(256))) * 9000
    found, _ = from_form(take, multipart(('"picture"; filename="a"', content)))
    assert found.content == content


def many(
    *,
    number: int = 0,
    flag: bool | None = None,
    tags: list[str] = [],  # noqa: B006 - it is copied
    options: dict[str, int] = {},  # noqa: B006 - it is copied
    anything: Any = None,
    day: dt.date | None = None,
    point: Point | None = None,
    size: Annotated[int, pydantic.Field(ge=0)] = 0,
) -> None: ...


MANY = routed(many, query=True)
NAMES = st.sampled_from(["number", "flag", "tags", "tags[]", "options", "anything", "day", "point", "size"])
TEXTS = (
    st.text(max_size=20) | st.from_regex(r"[0-9\[\]{}\":,.eE+-]{0,20}") | st.sampled_from(["nan", "null", "[" * 9999])
)


@settings(deadline=None)  # the first example imports the reader of forms, on a machine that may be busy
@given(st.lists(st.tuples(NAMES | st.text(max_size=5), TEXTS), max_size=6))
def test_no_text_makes_it_fail_otherwise(pairs: list[tuple[str, str]]) -> None:
    """Whatever a query says, it is read or refused as an invalid request."""
    with contextlib.suppress(InvalidRequest):
        MANY.validate(b"", MANY.input_form({}, urlencode(pairs, errors="surrogatepass"), ""))


@settings(deadline=None)
@given(st.binary(max_size=200), st.integers(0, 300), st.integers(0, 300))
def test_no_damage_to_a_form_makes_it_fail_otherwise(noise: bytes, start: int, end: int) -> None:
    """Whatever a form is damaged by, it is read or refused as an invalid request."""
    whole = multipart(('"picture"; filename="a.png"', b"content"), ('"words"', b"3"))
    its = routed(take)
    with contextlib.suppress(InvalidRequest, PayloadTooLarge):
        its.validate(whole[:start] + noise + whole[end:], InputForm(MULTIPART))


@settings(deadline=None)
@given(st.lists(st.tuples(st.binary(max_size=300), st.text(max_size=20)), max_size=5))
def test_any_files_arrive_as_they_were(files: list[tuple[bytes, str]]) -> None:
    """Contents are the same, byte for byte, and names have no folder."""

    def handler(files: list[Upload] = []) -> list[Upload]:  # noqa: B006 - it is copied
        return files

    safe = [(content.replace(b"edge", b""), name) for content, name in files]
    quoted = [name.replace("\\", "").replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A") for _, name in safe]
    parts = [(f'"files"; filename="x{name}"', content) for (content, _), name in zip(safe, quoted, strict=True)]
    found = from_form(handler, multipart(*parts))
    assert [upload.content for upload in found] == [content for content, _ in safe]
    assert all("/" not in upload.name for upload in found)
