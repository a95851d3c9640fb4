"""Declarations of tools, and the list of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest

from penstock import App, Batching, Context, Response, Upload
from penstock.errors import DeclarationError, PenstockError
from penstock.testing import PluginHarness
from penstock_mcp import Tool
from penstock_mcp.tool_table import TOOLS_PER_PAGE
from tests.plugins.mcp.tool_scene import ToolScene, fault


class Node(msgspec.Struct):
    """A node of a tree."""

    value: int
    left: Node | None = None


def declared(handler: Callable[..., Any], path: str = "/tool", tool: Tool | None = None, **options: Any) -> App:
    app = App("app")
    app.endpoint(path, dialects=[tool or Tool(description="d")], **options)(handler)
    return app


def listed(handler: Callable[..., Any], *, modern: bool = False, **more: Any) -> dict[str, Any]:
    """Return a tool as it is listed."""
    (found,) = ToolScene(declared(handler, **more)).result("tools/list", modern=modern)["tools"]
    entry: dict[str, Any] = found
    return entry


def add(a: float, b: float = 1.0) -> float:
    """Add two numbers.

    The second one is 1 by default.
    """
    return a + b


# ---- names and descriptions


@pytest.mark.parametrize(
    ("path", "given", "name"),
    [("/add", None, "add"), ("/v1/add", None, "v1_add"), ("/add", "plus.1-b", "plus.1-b"), ("/u/{a}", "u", "u")],
)
def test_the_name_is_the_path_unless_one_is_given(path: str, given: str | None, name: str) -> None:
    """With `_` for the slashes."""
    assert listed(add, path=path, tool=Tool(name=given))["name"] == name


@pytest.mark.parametrize(
    ("path", "given"),
    [("/", None), ("/users/{a}", None), ("/add", ""), ("/add", "a b"), ("/add", "é"), ("/a", "a" * 129)],
)
def test_a_name_that_clients_refuse_is_a_mistake(path: str, given: str | None) -> None:
    """The error names the endpoint and the fix."""
    with pytest.raises(DeclarationError, match=r"endpoint 'add': .* write Tool\(name=...\)"):
        declared(add, path, Tool(name=given), name="add")


def test_two_tools_with_one_name_are_a_mistake() -> None:
    """It is found when the server starts, and names both endpoints."""
    app = declared(add, "/a/b")
    app.endpoint("/a_b", name="other", dialects=[Tool()])(add)
    with pytest.raises(DeclarationError, match=r"endpoint 'other': .* a tool 'a_b' already, of endpoint 'a/b'"):
        ToolScene(app).send("ping")


def test_the_description_is_the_docstring_unless_one_is_given() -> None:
    """The docstring of the class or of its `predict`, without the indentation of the code."""

    class Documented:
        """Do something."""

        def predict(self, a: int) -> int:
            return a

    class Inside:
        def predict(self, a: int) -> int:
            """Do it here."""
            return a

    assert listed(add, tool=Tool())["description"] == "Add two numbers.\n\nThe second one is 1 by default."
    assert listed(add, tool=Tool(description="Plus"))["description"] == "Plus"
    assert listed(Documented, tool=Tool())["description"] == "Do something."
    assert listed(Inside, tool=Tool())["description"] == "Do it here."


@pytest.mark.parametrize("description", [None, "", "  "])
def test_a_tool_without_a_description_is_a_mistake(description: str | None) -> None:
    """A model would not know when to call it."""

    def silent(a: int) -> int:
        return a

    with pytest.raises(DeclarationError, match=r"endpoint 'tool': .* no description, .* Tool\(description=...\)"):
        declared(silent, tool=Tool(description=description))


def test_hints_are_listed_if_they_are_given() -> None:
    """As the protocol names them; nothing is said for those that are left out."""
    assert "annotations" not in listed(add)
    assert "title" not in listed(add)
    tool = Tool(title="Add", read_only=True, destructive=False, idempotent=True, open_world=False)
    entry = listed(add, tool=tool)
    assert entry["title"] == "Add"
    assert entry["annotations"] == {
        "readOnlyHint": True,
        "destructiveHint": False,
        "idempotentHint": True,
        "openWorldHint": False,
    }


# ---- arguments


def test_the_arguments_are_the_parameters() -> None:
    """Wherever they come from over plain HTTP; a context is not one of them."""

    def caption(user_id: int, context: Context, words: int = 12) -> str:
        return ""

    for options in ({"path": "/u/{user_id}", "tool": Tool(name="u", description="d")}, {"method": "GET"}):
        schema = listed(caption, **options)["inputSchema"]
        assert schema["type"] == "object"
        assert schema["properties"].keys() == {"user_id", "words"}
        assert schema["required"] == ["user_id"]


def test_a_struct_that_is_the_whole_body_is_the_arguments() -> None:
    """With its definitions, if it is recursive."""

    def walk(node: Node) -> None: ...

    schema = listed(walk)["inputSchema"]
    assert (schema["type"], schema["required"]) == ("object", ["value"])
    assert "Node" in schema["$defs"]


def test_a_body_that_is_no_object_is_one_argument() -> None:
    """As with batching, where a request may be one text."""

    def upper(text: list[str]) -> list[str]:
        return text

    schema = listed(upper, batching=Batching(max_size=2))["inputSchema"]
    assert schema == {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}


def test_bytes_and_uploads_are_no_arguments() -> None:
    """JSON cannot carry them; the error says what to do."""

    def raw(body: bytes) -> int:
        return 1

    def upload(file: Upload) -> int:
        return 1

    for handler, taken in ((raw, "raw bytes"), (upload, "an Upload")):
        with pytest.raises(
            DeclarationError, match=rf"endpoint 'tool': .* takes {taken}, .* remove Tool from dialects="
        ):
            declared(handler)


# ---- results


def test_results_are_objects_before_2026() -> None:
    """Those that are not are put into one, in the schema as in the result."""
    entry = listed(add)
    assert entry["outputSchema"] == {
        "type": "object",
        "properties": {"result": {"type": "number"}},
        "required": ["result"],
    }
    assert listed(add, modern=True)["outputSchema"] == {"type": "number"}


def test_a_struct_is_an_object_as_it_is() -> None:
    """In every version."""

    def root() -> Node:
        return Node(1)

    for modern in (False, True):
        assert listed(root, modern=modern)["outputSchema"]["properties"].keys() == {"value", "left"}


def test_definitions_stay_where_references_find_them() -> None:
    """At the root of the schema, also of one around a list, or of the chunks of a stream."""

    def nodes() -> list[Node]:
        return []

    def stream() -> Iterator[Node]:
        yield Node(1)

    for handler in (nodes, stream):
        schema = listed(handler)["outputSchema"]
        assert "Node" in schema["$defs"]
        assert schema["properties"]["result"]["type"] == "array"
        assert listed(handler, modern=True)["outputSchema"].keys() == {"type", "items", "$defs"}


def test_nothing_is_promised_that_may_not_be_kept() -> None:
    """For bytes, responses, and handlers without an annotation."""

    def raw() -> bytes:
        return b""

    def response() -> Response:
        return Response(b"")

    def anything(): ...  # type: ignore[no-untyped-def]

    for handler in (raw, response, anything):
        assert "outputSchema" not in listed(handler)
    assert "outputSchema" not in listed(raw, media_type="image/png")


# ---- the list


def test_a_long_list_has_pages() -> None:
    """Each cursor leads to the next page, and no other cursor does."""
    app = App("app")
    count = 2 * TOOLS_PER_PAGE + 1
    for number in range(count):
        app.endpoint(f"/t{number}", dialects=[Tool()])(add)
    scene = ToolScene(app)
    names, params = [], {}
    for _ in range(3):
        page = scene.result("tools/list", params)
        names += [tool["name"] for tool in page["tools"]]
        params = {"cursor": page.get("nextCursor")}
    assert names == [f"t{number}" for number in range(count)]
    assert params == {"cursor": None}
    for cursor in ("1", "-200", "x", str(count), ""):
        assert fault(scene.send("tools/list", {"cursor": cursor}))[:2] == (200, -32602)


def test_only_an_app_with_tools_has_the_path() -> None:
    """And an app with tools needs the plug-in."""
    app = App("app")
    app.endpoint("/add")(add)
    with pytest.raises(PenstockError, match="no dialect has an operation"):
        ToolScene(app).send("ping")
    with pytest.raises(DeclarationError, match="plug-in 'mcp', which is not in use"):
        PluginHarness(declared(add), []).operation("POST", "/mcp", b"{}")
