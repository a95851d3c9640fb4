"""Messages of the protocol: both generations, errors, headers, origins, and who may cancel what."""

from __future__ import annotations

import base64
from typing import Any

import msgspec
import pytest

import penstock
from penstock import App
from penstock.errors import PluginError, Unauthorized
from penstock.hooks import CancelRequest, Dialect, DialectRequest, Payload, Submission, hookimpl
from penstock.testing import PluginHarness
from penstock_mcp import McpPlugin, Tool
from tests.plugins.mcp.tool_scene import META, VERSION, ToolScene, decoded, fault

OLD = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"]
LOOPBACK = ["http://localhost:3000", "http://127.0.0.1", "https://[::1]:8443", "http://app.localhost"]


def make_app(**options: Any) -> App:
    app = App("calculator", **options)

    @app.endpoint("/add", dialects=[Tool(description="Adds")])
    def add(a: float, b: float = 1.0) -> float:
        return a + b

    @app.endpoint("/sub", dialects=[Tool(description="Subtracts")])
    def sub(a: float) -> float:
        return a

    return app


@pytest.fixture
def scene() -> ToolScene:
    return ToolScene(make_app())


def dialect_of(scene: ToolScene) -> Dialect:
    (found,) = [each for each in scene.harness.registry.dialects(scene.harness.app) if each.name == "mcp"]
    return found


def read(scene: ToolScene, message: dict[str, Any], **headers: str) -> Any:
    """Return what the dialect reads in a message."""
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    request = DialectRequest(
        request_id="r", method="POST", path="/mcp", path_values={}, header=names.get, body=msgspec.json.encode(message)
    )
    return dialect_of(scene).operations[0].read(request)


# ---- the handshake


@pytest.mark.parametrize("version", OLD)
def test_a_known_version_is_agreed_on(scene: ToolScene, version: str) -> None:
    """As the client has asked for it."""
    answer = scene.result("initialize", {"protocolVersion": version, "capabilities": {}, "clientInfo": {"name": "c"}})
    assert answer["protocolVersion"] == version
    assert answer["capabilities"] == {"tools": {"listChanged": False}}
    assert answer["serverInfo"] == {"name": "calculator", "version": penstock.__version__}


@pytest.mark.parametrize("version", ["2026-07-28", "2099-01-01", None])
def test_an_unknown_version_is_answered_with_the_newest(scene: ToolScene, version: str | None) -> None:
    """The newest with a handshake; the client decides whether it can go on."""
    assert scene.result("initialize", {"protocolVersion": version})["protocolVersion"] == OLD[-1]


def test_the_server_presents_itself_as_configured() -> None:
    """With a name, a version, and advice to the model."""
    scene = ToolScene(make_app(), name="Calculator", version="3", instructions="Add first.")
    for method, modern in (("initialize", False), ("server/discover", True)):
        answer = scene.result(method, modern=modern)
        assert answer["serverInfo"] == {"name": "Calculator", "version": "3"}
        assert answer["instructions"] == "Add first."


def test_each_handshake_has_a_session_of_its_own(scene: ToolScene) -> None:
    """Which nothing is kept for, and which nothing else needs."""
    ids = {scene.send("initialize").headers["mcp-session-id"] for _ in range(3)}
    assert len(ids) == 3
    assert scene.send("tools/list").status == 200


@pytest.mark.parametrize("method", ["notifications/initialized", "notifications/cancelled", "notifications/whatever"])
@pytest.mark.parametrize("modern", [False, True])
def test_notifications_are_accepted(scene: ToolScene, method: str, modern: bool) -> None:
    """With 202, and nothing else."""
    headers = {"MCP-Protocol-Version": VERSION} if modern else {}
    answer = scene.post(msgspec.json.encode({"jsonrpc": "2.0", "method": method}), headers=headers)
    assert (answer.status, answer.body) == (202, b"")


def test_a_ping_is_answered(scene: ToolScene) -> None:
    """With nothing; from 2026 on there is none."""
    assert scene.result("ping") == {}
    assert fault(scene.send("ping", modern=True))[:2] == (404, -32601)


def test_responses_are_accepted_before_2026(scene: ToolScene) -> None:
    """Although the server asks nothing; from then on they are not messages of clients."""
    message = msgspec.json.encode({"jsonrpc": "2.0", "id": 1, "result": {}})
    assert scene.post(message).status == 202
    assert fault(scene.post(message, headers={"MCP-Protocol-Version": VERSION}))[:2] == (400, -32600)


# ---- from 2026-07-28 on


def test_a_client_discovers_what_the_server_speaks(scene: ToolScene) -> None:
    """All versions, and what it needs to know instead of a handshake."""
    answer = scene.result("server/discover", modern=True)
    assert answer["supportedVersions"] == [VERSION, *reversed(OLD)]
    assert answer["capabilities"] == {"tools": {"listChanged": False}}
    assert (answer["resultType"], answer["ttlMs"], answer["cacheScope"]) == ("complete", 0, "private")
    assert answer["_meta"]["io.modelcontextprotocol/serverInfo"] == answer["serverInfo"]


def test_lists_and_calls_have_what_this_version_wants(scene: ToolScene) -> None:
    """Older ones have none of it."""
    page = scene.result("tools/list", modern=True)
    assert (page["resultType"], page["ttlMs"], page["cacheScope"]) == ("complete", 0, "private")
    answer = scene.call("add", {"a": 1}, modern=True)
    assert answer["resultType"] == "complete"
    assert "io.modelcontextprotocol/serverInfo" in answer["_meta"]
    assert scene.result("tools/list").keys() == {"tools"}
    assert scene.call("add", {"a": 1}).keys() == {"content", "structuredContent", "isError"}


@pytest.mark.parametrize(
    "headers",
    [
        {"MCP-Protocol-Version": "2025-11-25"},
        {"Mcp-Method": "tools/list"},
        {"Mcp-Name": "sub"},
        {"Mcp-Name": "=?base64?!!?="},
        {"Mcp-Name": "=?base64?\xe9?="},
        {"Mcp-Name": "=?base64?/w==?="},
        {"Mcp-Name": "=?base64?c3Vi?="},
    ],
)
def test_headers_and_body_agree(scene: ToolScene, headers: dict[str, str]) -> None:
    """A proxy may have decided by the headers."""
    answer = scene.send("tools/call", {"name": "add", "arguments": {"a": 1}}, modern=True, headers=headers)
    assert fault(answer)[:2] == (400, -32020)
    assert decoded(answer)["id"] == 7


@pytest.mark.parametrize("missing", ["MCP-Protocol-Version", "Mcp-Method", "Mcp-Name"])
def test_headers_must_be_there(scene: ToolScene, missing: str) -> None:
    """The error says which one, and what it should say."""
    headers = {"MCP-Protocol-Version": VERSION, "Mcp-Method": "tools/call", "Mcp-Name": "add"}
    del headers[missing]
    message = {"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": "add", "_meta": META}}
    status, code, text = fault(scene.post(msgspec.json.encode(message), headers=headers))
    assert (status, code) == (400, -32020)
    assert missing.lower() in text


def test_a_name_may_be_in_base64(scene: ToolScene) -> None:
    """As one that is not ASCII has to be."""
    name = f"=?base64?{base64.b64encode(b'add').decode()}?="
    assert scene.send("tools/call", {"name": "add", "arguments": {"a": 1}}, modern=True, headers={"Mcp-Name": name})


@pytest.mark.parametrize("key", list(META))
def test_what_each_request_has_to_say(scene: ToolScene, key: str) -> None:
    """Its version, and what the client can do."""
    meta = {name: value for name, value in META.items() if name != key}
    message = {"jsonrpc": "2.0", "id": 7, "method": "tools/list", "params": {"_meta": meta}}
    headers = {"MCP-Protocol-Version": VERSION, "Mcp-Method": "tools/list"}
    status, code, text = fault(scene.post(msgspec.json.encode(message), headers=headers))
    assert (status, code) == (400, -32602)
    assert key in text


def test_a_version_that_is_not_spoken(scene: ToolScene) -> None:
    """The answer names those that are, whether the client has said it in the header, or in both places."""
    future = "2099-01-01"
    headers = {"MCP-Protocol-Version": future}
    in_both = scene.send("server/discover", {"_meta": {next(iter(META)): future}}, modern=True, headers=headers)
    alone = scene.send("tools/list", headers=headers)
    noted = scene.post(b'{"jsonrpc":"2.0","method":"notifications/x"}', headers=headers)
    for answer in (in_both, alone, noted):
        assert fault(answer)[:2] == (400, -32022)
        assert decoded(answer)["error"]["data"] == {"supported": [VERSION, *reversed(OLD)], "requested": future}


def test_a_handshake_version_in_a_header_is_enough(scene: ToolScene) -> None:
    """Clients repeat in each request what the handshake has found."""
    for version in OLD:
        assert scene.send("tools/list", headers={"MCP-Protocol-Version": version}).status == 200


# ---- bad messages


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", -32700),
        (b"{", -32700),
        (b"\xff", -32700),
        (b"[1,", -32700),
        (b'{"jsonrpc":"2.0"} x', -32700),
        (b"[" * 100_000, -32700),
        (b"[]", -32600),
        (b'[{"jsonrpc":"2.0","id":1,"method":"ping"}]', -32600),
        (b"1", -32600),
        (b"null", -32600),
        (b"{}", -32600),
        (b'{"jsonrpc":"1.0","id":1,"method":"ping"}', -32600),
        (b'{"jsonrpc":"2.0","id":1}', -32600),
        (b'{"jsonrpc":"2.0","id":1,"method":5}', -32600),
        (b'{"jsonrpc":"2.0","id":1,"method":null}', -32600),
        (b'{"jsonrpc":"2.0","id":null,"method":"ping"}', -32600),
        (b'{"jsonrpc":"2.0","id":1.5,"method":"ping"}', -32600),
        (b'{"jsonrpc":"2.0","id":{},"method":"ping"}', -32600),
        (b'{"jsonrpc":"2.0","id":true,"method":"ping"}', -32600),
    ],
)
def test_what_is_no_message_is_a_bad_request(scene: ToolScene, body: bytes, code: int) -> None:
    """With 400, if it is JSON or not."""
    assert fault(scene.post(body))[:2] == (400, code)


def test_a_batch_says_why_it_is_refused(scene: ToolScene) -> None:
    """One version had them, and no client sends them."""
    assert "batch" in fault(scene.post(b"[]"))[2]


@pytest.mark.parametrize(
    ("method", "params", "code"),
    [
        ("nothing", None, -32601),
        ("resources/list", None, -32601),
        ("tools/list", [], -32602),
        ("tools/list", "x", -32602),
        ("tools/list", {"cursor": 5}, -32602),
        ("tools/call", None, -32602),
        ("tools/call", {"name": 5}, -32602),
        ("tools/call", {"name": "nothing"}, -32602),
        ("tools/call", {"name": "add", "arguments": []}, -32602),
        ("tools/call", {"name": "add", "_meta": 5}, -32602),
        ("tools/call", {"name": "add", "_meta": {"progressToken": {}}}, -32602),
        ("initialize", {"protocolVersion": 5}, -32602),
    ],
)
def test_bad_methods_and_parameters_are_errors_of_the_protocol(
    scene: ToolScene, method: str, params: Any, code: int
) -> None:
    """Older clients take every HTTP error for the end of their session, so it is a 200 to them."""
    headers = {"Accept": "text/event-stream"}
    answer = scene.send(method, params, headers=headers)
    assert fault(answer)[:2] == (200, code)
    assert decoded(answer)["id"] == 7


def test_bad_parameters_have_a_status_from_2026_on(scene: ToolScene) -> None:
    """Even if they are so bad that they cannot say which version they are of: the header does."""
    message = b'{"jsonrpc":"2.0","id":7,"method":"tools/list","params":[]}'
    assert fault(scene.post(message, headers={"MCP-Protocol-Version": VERSION}))[:2] == (400, -32602)


def test_from_2026_on_errors_have_a_status(scene: ToolScene) -> None:
    """404 for a method, and 400 for everything else; no retry helps."""
    for method, params, status in (("nothing", {}, 404), ("tools/call", {"name": "x"}, 400)):
        answer = scene.send(method, params, modern=True)
        assert answer.status == status
        assert answer.headers == {"x-should-retry": "false"}


@pytest.mark.parametrize("sent", ['"a b"', '"é\\u2028"', "12345678901234567890", "-1", "0", '""'])
def test_the_id_is_repeated_as_it_came(scene: ToolScene, sent: str) -> None:
    """Whatever it is."""
    answer = scene.post(f'{{"jsonrpc":"2.0","id":{sent},"method":"ping"}}'.encode())
    assert f'"id":{sent},'.encode() in answer.body


def test_an_unknown_tool_has_a_hint(scene: ToolScene) -> None:
    """With the names that there are."""
    assert "add" in fault(scene.send("tools/call", {"name": "ad"}))[2]


# ---- paths


def test_both_forms_of_the_path_answer(scene: ToolScene) -> None:
    """Not every client follows a redirect of a POST."""
    for path in ("/mcp", "/mcp/"):
        assert scene.send("ping", path=path).status == 200


def test_the_path_is_a_setting() -> None:
    """It may be the root."""
    scene = ToolScene(make_app(), prefix="/tools/mcp")
    assert scene.send("ping", path="/tools/mcp/").status == 200
    assert ToolScene(make_app(), prefix="").send("ping", path="/").status == 200


@pytest.mark.parametrize("settings", [{"prefix": "mcp"}, {"prefix": "/a b"}, {"origins": ["example.com"]}])
def test_wrong_settings_are_refused_at_the_start(settings: dict[str, Any]) -> None:
    """With the fix."""
    with pytest.raises(PluginError, match="write"):
        ToolScene(make_app(), **settings)


# ---- origins


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        (None, "mcp.example.com"),
        *((origin, "mcp.example.com") for origin in LOOPBACK),
        ("https://mcp.example.com", "mcp.example.com"),
        ("https://MCP.example.com", "mcp.example.com:443"),
        ("https://mcp.example.com:8443", "mcp.example.com:8443"),
        ("http://10.0.0.5:8000", "10.0.0.5:8000"),
        ("http://[fd00::5]:8000", "[fd00::5]:8000"),
    ],
)
def test_pages_of_this_machine_and_of_this_server_may_use_the_tools(
    scene: ToolScene, origin: str | None, host: str
) -> None:
    """Programs, which are not pages, may as well."""
    headers = {"Host": host} | ({} if origin is None else {"Origin": origin})
    assert scene.send("ping", headers=headers).status == 200


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("https://evil.example", "mcp.example.com"),
        ("http://evil.example:8000", "evil.example:8000"),  # its name resolves to this server
        ("https://mcp.example.com", "mcp.example.com:8443"),
        ("http://10.0.0.5:8000", "10.0.0.6:8000"),
        ("http://localhost.evil.example", "localhost"),
        ("http://localhost@evil.example", "localhost"),
        ("http://127.0.0.1.evil.example", "127.0.0.1"),
        ("null", "localhost"),
        ("", "localhost"),
        ("file://", "localhost"),
        ("chrome-extension://abc", "localhost"),
        ("http://[::1", "localhost"),
        ("http://a:99999", "localhost"),
    ],
)
def test_other_pages_may_not(scene: ToolScene, origin: str, host: str) -> None:
    """Whatever they send, with 403, and before anything else is looked at."""
    answer = scene.post(b"{", headers={"Origin": origin, "Host": host})
    status, code, message = fault(answer)
    assert (status, code) == (403, -32000)
    assert "origins" in message


def test_origins_can_be_allowed() -> None:
    """One by one, or all."""
    scene = ToolScene(make_app(), origins=["https://app.example.com", "http://lab:3000"])
    for origin, status in (
        ("https://app.example.com", 200),
        ("https://app.example.com:443", 200),
        ("http://lab:3000", 200),
        ("http://lab:3001", 403),
        ("http://app.example.com", 403),
    ):
        assert scene.send("ping", headers={"Origin": origin}).status == status
    assert ToolScene(make_app(), origins=["*"]).send("ping", headers={"Origin": "null"}).status == 200


# ---- access


class Guard:
    """An authenticator that refuses every caller."""

    name = "guard"

    @hookimpl
    def penstock_authenticator(self) -> Any:
        def authenticate(submission: Submission) -> None:
            raise Unauthorized("no key")

        return authenticate


def test_a_caller_without_a_key_gets_a_401() -> None:
    """Whatever it asks for, in the form of the protocol."""
    harness = PluginHarness(make_app(), [McpPlugin, Guard()])
    answer = harness.operation("POST", "/mcp", b'{"jsonrpc":"2.0","id":1,"method":"ping"}')
    assert fault(answer) == (401, -32000, "no key")


# ---- cancellation

CALL = {"jsonrpc": "2.0", "id": 5, "method": "tools/call", "params": {"name": "add", "arguments": {"a": 1}}}
CANCEL = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 5}}


def test_a_call_is_cancelled_within_its_session(scene: ToolScene) -> None:
    """Its number and its session are those of the notification."""
    call = read(scene, CALL, mcp_session_id="s1")
    order = read(scene, CANCEL, mcp_session_id="s1")
    assert isinstance(call, Payload)
    assert isinstance(order, CancelRequest)
    assert call.cancel_key == order.key
    assert order.response.status == 202


@pytest.mark.parametrize(
    ("number", "session"), [(6, "s1"), ("5", "s1"), (5, "s2"), (5.0, "s1")], ids=["number", "text", "session", "float"]
)
def test_other_calls_are_left_alone(scene: ToolScene, number: Any, session: str) -> None:
    """All clients count from the same number on."""
    call = read(scene, CALL, mcp_session_id="s1")
    order = read(scene, {**CANCEL, "params": {"requestId": number}}, mcp_session_id=session)
    assert not isinstance(order, CancelRequest) or order.key != call.cancel_key


def test_without_a_session_nothing_can_be_cancelled(scene: ToolScene) -> None:
    """It could be the call of another client."""
    for session in ({}, {"mcp_session_id": "a b"}, {"mcp_session_id": "x" * 201}):
        assert read(scene, CALL, **session).cancel_key is None
        assert read(scene, CANCEL, **session).status == 202


def test_from_2026_on_clients_cancel_by_leaving(scene: ToolScene) -> None:
    """There are no sessions."""
    headers = {"mcp_protocol_version": VERSION, "mcp_method": "tools/call", "mcp_name": "add", "mcp_session_id": "s1"}
    call = {**CALL, "params": {**CALL["params"], "_meta": META}}  # type: ignore[dict-item] # it is a dict
    assert read(scene, call, **headers).cancel_key is None
    assert read(scene, CANCEL, **headers).status == 202
