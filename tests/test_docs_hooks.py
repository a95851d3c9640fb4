"""The page about the hooks agrees with the code: signatures, records and names. Its examples run."""

from __future__ import annotations

import inspect
import re
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner

from penstock import App, hooks
from penstock.hooks import ResponseHead, Submission, defaults, hookspecs, records
from penstock.hooks.records import Record
from penstock.hooks.registry import Registry
from penstock.hooks.validation import HOOKS
from penstock.response import Encoded
from penstock.testing import Behaviour, PluginHarness
from tests.serving import ROOT

PAGE = ROOT / "docs" / "hooks.md"
TEXT = PAGE.read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^### (\w+)\n(.*?)(?=^##)", TEXT, re.MULTILINE | re.DOTALL))
LABELS = ("**Called**", "**Returns**", "**When ", "**Built in**")


def app() -> App:
    app = App("tests")

    @app.endpoint("/square")
    def square(input: float) -> float:
        return input**2

    return app


def code_blocks(text: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def plugin_of(source: str) -> Any:
    """Return the plug-in of an example: its one class with a hook."""
    names: dict[str, Any] = {}
    exec(compile(source, str(PAGE), "exec"), names)
    classes = [
        value for value in names.values() if inspect.isclass(value) and any(hook in vars(value) for hook in HOOKS)
    ]
    [plugin] = classes
    return plugin


def records_of_the_core() -> dict[str, type[Record]]:
    kinds = [kind for kind in vars(records).values() if inspect.isclass(kind) and issubclass(kind, Record)]
    return {kind.__name__: kind for kind in kinds if kind is not Record}


def test_every_hook_has_its_section() -> None:
    """The sections are in the order of the hookspecs, and each names a hook that exists."""
    specs = [name for name in vars(hookspecs) if name.startswith("penstock_")]
    assert list(SECTIONS) == specs == list(HOOKS)


@pytest.mark.parametrize("hook", HOOKS)
def test_a_section_says_all_there_is_to_know(hook: str) -> None:
    """Each section has the exact signature, one example, and the four labels.

    The labels say when the hook is called, what it returns, what an exception does, and which plug-ins use it.
    """
    signature, *examples = code_blocks(SECTIONS[hook])
    rendered = str(inspect.signature(getattr(hookspecs, hook))).replace("'", "")
    assert signature == f"{hook}{rendered}\n"
    assert len(examples) == 1
    assert [label for label in LABELS if label not in SECTIONS[hook]] == []


@pytest.mark.parametrize("hook", HOOKS)
def test_an_example_is_a_plug_in_that_works(hook: str) -> None:
    """The plug-in implements its hook and no other, and an app with it still answers."""
    plugin = plugin_of(code_blocks(SECTIONS[hook])[1])
    assert [p.hooks for p in Registry([plugin]).plugins] == [[hook]]
    harness = PluginHarness(app(), [plugin])
    request = harness.request(address="192.0.2.7")
    harness.advance(1)
    assert request.code == "ok"


def test_the_first_example_works() -> None:
    """The example that explains hooks and decisions runs, and has its effect."""
    harness = PluginHarness(app(), [plugin_of(code_blocks(TEXT)[0])])
    assert harness.request().headers == {"x-thank-you": "for asking"}


def test_the_examples_do_what_they_seem_to() -> None:
    """Each example has the effect that its code suggests."""
    examples = {hook: plugin_of(code_blocks(section)[1]) for hook, section in SECTIONS.items()}

    def harness(hook: str) -> PluginHarness:
        return PluginHarness(app(), [examples[hook]])

    assert harness("penstock_authenticator").request(address="203.0.113.1").code == "unauthorized"
    assert harness("penstock_authenticator").request(headers={"X-User": "ada"}).principal == "ada"
    assert harness("penstock_timeout_policy").request(headers={"X-Hurry": "1"}).submission.timeouts.queue == 0.5
    assert_one_at_a_time(harness("penstock_admission_policy"))
    assert_newest_first(harness("penstock_queue_discipline"))
    assert_two_attempts(harness("penstock_retry_policy"))
    assert harness("penstock_shutdown_policy").shutdown(60) == 10.0
    assert Registry([examples["penstock_worker_setup"]], app=app()).worker_setups()[0].endswith(":watch_memory")
    predicted = harness("penstock_dialects").operation(
        "POST", "/v1/models/square/predict", b'{"instance": {"input": 3}}', Encoded(b"9.0")
    )
    assert predicted.body == b'{"prediction":9.0}'
    assert harness("penstock_routes").route("/version").body == b'{"app":"tests","version":"1.4"}'
    assert_signed(examples["penstock_response_headers"])
    [hello] = Registry([examples["penstock_cli_commands"]]).cli_commands()
    assert CliRunner().invoke(hello).output == "hello\n"


def assert_signed(plugin: Any) -> None:
    headers_of = Registry([plugin]).response_headers(app())
    assert headers_of is not None
    head = ResponseHead(method="GET", path="/", header={}.get, status=404, headers={})
    assert list(headers_of(head)) == [("x-content-type-options", "nosniff")]


def assert_one_at_a_time(harness: PluginHarness) -> None:
    first, second = harness.request(), harness.request()
    assert (first.code, second.code) == (None, "rate-limited")
    harness.advance(1)
    assert harness.request().error is None


def assert_newest_first(harness: PluginHarness) -> None:
    requests = [harness.request(behaviour=Behaviour.SLOW) for _ in range(3)]
    harness.advance(2.5)
    assert [request.code for request in requests] == ["ok", None, "ok"]


def assert_two_attempts(harness: PluginHarness) -> None:
    request = harness.request(behaviour=Behaviour.CRASHER)
    harness.advance(10)
    assert request.job is not None
    assert (request.code, request.job.attempts) == ("worker-lost", 2)


def test_every_record_is_listed_with_its_fields() -> None:
    """The fields are listed in the order of the record's definition."""
    rows = re.findall(r"^\| `(\w+)` \| ((?:`\w+`(?:, )?)+) \|", TEXT[TEXT.index("## Records") :], re.MULTILINE)
    listed = {name: tuple(re.findall(r"`(\w+)`", fields)) for name, fields in rows}
    assert listed == {
        name: tuple(field.name for field in msgspec.structs.fields(kind))
        for name, kind in records_of_the_core().items()
    }


def test_everything_a_plug_in_may_import_is_mentioned() -> None:
    """Every public name of ``penstock.hooks`` is on the page."""
    assert [name for name in hooks.__all__ if not re.search(rf"\b{name}\b", TEXT)] == []


def test_every_attribute_of_a_submission_is_listed() -> None:
    """The table has the public slots, and the properties that are meant for decisions."""
    part = TEXT[TEXT.index("## Submissions") : TEXT.index("## Records")]
    listed = re.findall(r"^\| `(\w+)` \|", part, re.MULTILINE)
    assert set(listed) == {name for name in Submission.__slots__ if not name.startswith("_")} | {
        "priority",
        "response_headers",
        "share",
    }


@pytest.mark.parametrize("kind", ["Dialect", "Operation", "DialectRequest", "Payload", "PublicError", "Framing"])
def test_every_field_of_a_dialect_is_listed(kind: str) -> None:
    """Each record of the part about dialects has a table with all of its fields, and no other."""
    part = TEXT[TEXT.index("## Dialects") : TEXT.index("## Submissions")]
    table = part[part.index(f"| `{kind}` |") :].partition("\n\n")[0]
    listed = {name for row in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE) for name in re.findall(r"`(\w+)", row)}
    cls = getattr(hooks, kind)
    members = {name for name in vars(cls) if name[0] != "_"} if kind == "Framing" else set()
    members |= {"takes_events"} if kind == "Framing" else set()  # no part of the protocol: few framings have it
    assert listed - {kind} == {*inspect.get_annotations(cls), *members}


@pytest.mark.parametrize("kind", ["RpcService", "RpcOperation", "RpcQuestion", "RpcRequest"])
def test_every_field_of_a_grpc_service_is_listed(kind: str) -> None:
    """Each record of the part about gRPC has a table with all of its fields, and no other."""
    part = TEXT[TEXT.index("## gRPC services") : TEXT.index("## Services")]
    table = part[part.index(f"| `{kind}` |") :].partition("\n\n")[0]
    listed = {name for row in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE) for name in re.findall(r"`(\w+)", row)}
    assert listed - {kind} == set(inspect.get_annotations(getattr(hooks, kind)))


# The hooks that no plug-in of Penstock's own needs yet.
FOR_OTHERS: set[str] = set()


@pytest.mark.parametrize("hook", [hook for hook in HOOKS if hook not in FOR_OTHERS])
def test_every_hook_is_used_by_a_built_in_plug_in(hook: str) -> None:
    """The page names exactly the built-in plug-ins that use the hook, and there is at least one, or the core does."""
    installed = [plugin for plugin in Registry.survey(environ={}).plugins if plugin.distribution == "penstock"]
    using = {plugin.name for plugin in installed if hook in plugin.hooks}
    line = SECTIONS[hook].partition("**Built in**")[2].partition("\n\n")[0]
    named = {name for name in re.findall(r"`(\w+)`", line) if name in {plugin.name for plugin in installed}}
    assert using or hook in vars(defaults)
    assert named == using


# ---- the how-to pages


def test_the_plug_in_of_the_how_to_works() -> None:
    """The app and its test run as printed on the page."""
    names: dict[str, Any] = {"__name__": "demo"}
    for source in code_blocks((PAGE.parent / "how-to" / "plugins.md").read_text(encoding="utf-8")):
        exec(compile(source, "plugins.md", "exec"), names)
    names["test_it_greets"]()


def test_the_settings_of_the_how_to_are_settings() -> None:
    """Each variable on the page is a setting of a plug-in, or is shown as a mistake."""
    text = (PAGE.parent / "how-to" / "settings.md").read_text(encoding="utf-8")
    environ = dict(re.findall(r"^\$ export (PENSTOCK_\w+)='?(.*?)'?$", text, re.MULTILINE))
    assert len(environ) == 3
    registry = Registry.survey(environ={**environ, "PENSTOCK_TIMEOUTS_HEADERS": "x-request-timeout"})
    assert registry.complaints == []
    assert [plugin.why for plugin in registry.plugins if plugin.state == "broken"] == []


def test_links_within_the_page_lead_to_a_heading() -> None:
    """Renaming a section breaks no link within the page."""
    headings = {re.sub(r"\W+", "-", heading.lower()) for heading in re.findall(r"^##+ (.*)$", TEXT, re.MULTILINE)}
    assert set(re.findall(r"\]\(#([\w-]+)\)", TEXT)) <= headings
