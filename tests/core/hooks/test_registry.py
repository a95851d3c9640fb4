"""Plug-ins: their precedence, the errors for one that does not fit, and the damage that one that raises can do."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from importlib.metadata import Distribution, EntryPoint
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, cast

import click
import pytest

from penstock.app import App, Endpoint
from penstock.errors import HookError, PluginError, RateLimited
from penstock.hooks import (
    FifoQueue,
    HookFailed,
    Job,
    JobAnswered,
    PluginSettings,
    Principal,
    Queue,
    Route,
    RouteRequest,
    RouteResponse,
    Secret,
    ShutdownRequest,
    Submission,
    Timeouts,
    WorkerDied,
    WorkerLost,
    WorkerReady,
    blocking,
    defaults,
    hookimpl,
    hookspecs,
)
from penstock.hooks.hook_failures import SAME_FAILURE_SECONDS, HookFailures
from penstock.hooks.registry import Registry, is_blocking
from penstock.hooks.settings import Sources
from penstock.hooks.validation import HOOKS
from penstock.scheduler import GuardedQueue, retry_lost
from penstock.testing import MockClock


def app_with(name: str = "square", **options: Any) -> App:
    """Return an app with one endpoint."""
    app = App("tests", **options)

    @app.endpoint(f"/{name}")
    def square(input: float) -> float:
        return input**2

    return app


def endpoint(name: str = "square") -> Endpoint:
    return app_with(name).endpoints[0]


def submission(name: str = "square") -> Submission:
    return Submission(endpoint(name), request_id="r1")


def sources(app: Mapping[str, Any] | None = None, environ: Mapping[str, str] | None = None) -> Sources:
    return Sources(app or {}, environ or {}, Path("nowhere"))


JOB = cast("Job", None)
ANSWERED = JobAnswered(endpoint="square", request_id="r1", code="ok")
ROUTE_REQUEST = RouteRequest(request_id="r1", method="GET", path="/x", header=lambda name: None)


class LastComeFirstServed(FifoQueue):
    """A queue of another class."""


class Stack:
    """Decides the order of one endpoint only."""

    @hookimpl
    def penstock_queue_discipline(self, endpoint: Endpoint) -> Callable[[], Queue] | None:
        return LastComeFirstServed if endpoint.name == "stack" else None


class Admits:
    """Admits every request, and records its own name."""

    def __init__(self, name: str, asked: list[str]) -> None:
        self.name = name
        self._asked = asked

    @hookimpl
    def penstock_admission_policy(self) -> Callable[[Submission], None]:
        return lambda submission: self._asked.append(self.name)


def returning(hook: str, result: Any, *, name: str = "strange") -> Any:
    """Return a plug-in whose only hook returns ``result``."""

    def implementation(self: object) -> Any:
        return result

    implementation.__name__ = hook
    return type("Strange", (), {hook: hookimpl(implementation), "name": name})()


def raising(hook: str, error: BaseException, *, name: str = "strange") -> Any:
    """Return a plug-in whose only hook returns a callable that raises ``error``."""

    def fail(*_arguments: Any) -> Any:
        raise error

    return returning(hook, fail, name=name)


# ---- plug-ins of distributions that need not be installed


@pytest.fixture
def offer(monkeypatch: pytest.MonkeyPatch) -> Callable[..., EntryPoint]:
    """Return a function that creates an entry point of a distribution; importing it returns ``plugin``."""

    def make(name: str, plugin: Any = None, distribution: str = "penstock-strange", version: str = "1.2") -> EntryPoint:
        module = f"module_of_{distribution}_{name}".replace("-", "_")
        if plugin is not None:
            monkeypatch.setitem(sys.modules, module, cast("ModuleType", SimpleNamespace(Plugin=plugin)))
        of = cast("Distribution", SimpleNamespace(name=distribution, version=version))
        return EntryPoint(name, f"{module}:Plugin", "penstock")._for(of)  # type: ignore[attr-defined,no-any-return]

    return make


def named(name: str) -> type:
    """Return the class of a plug-in that is recognized by the name of its queue."""
    queue = type(name, (FifoQueue,), {})
    return type(
        f"Plugin{name}", (), {"penstock_queue_discipline": hookimpl(lambda self: queue), "__module__": __name__}
    )


def order(registry: Registry, name: str = "square") -> str:
    """Return the name of a queue's class; for a guarded queue, that of the one inside."""
    queue = registry.queue_discipline(endpoint(name))()
    return type(queue._inner if isinstance(queue, GuardedQueue) else queue).__name__


def test_the_table_of_hooks_agrees_with_the_hookspecs() -> None:
    """The table names the same hooks with the same parameters."""
    specs = {name: value for name, value in vars(hookspecs).items() if name.startswith("penstock_")}
    assert {name: tuple(spec.__annotations__)[:-1] for name, spec in specs.items()} == {
        name: hook.parameters for name, hook in HOOKS.items()
    }


# ---- who decides


def test_the_core_decides_by_default() -> None:
    """Without plug-ins, jobs run first come, first served, lost jobs are retried, and access is open."""
    registry = Registry()
    assert registry.queue_discipline(endpoint()) is FifoQueue
    assert registry.retry_policy(endpoint()) is retry_lost
    assert registry.shutdown_policy(app_with())(ShutdownRequest(drain=3.0)) == 3.0
    assert registry.authenticator(endpoint()) is None
    assert registry.timeout_policy(endpoint()) is None
    assert registry.admission_policies(endpoint()) == []
    assert [route.path for route in registry.routes(app_with())] == ["/livez", "/readyz", "/-/status"]
    assert registry.cli_commands() == []


def test_a_plug_in_decides_before_the_core() -> None:
    """Its result counts, or the core's if it returns None."""
    registry = Registry([Stack()])
    assert order(registry, "stack") == "LastComeFirstServed"
    assert registry.queue_discipline(endpoint()) is FifoQueue
    assert registry.retry_policy(endpoint()) is retry_lost


def test_the_last_plug_in_is_asked_first() -> None:
    """A later plug-in may overrule those before it."""
    never = returning("penstock_retry_policy", lambda *_: None, name="never")
    at_once = returning("penstock_retry_policy", lambda *_: 0.0, name="at-once")
    assert Registry([never, at_once]).retry_policy(endpoint())(JOB, RateLimited(), 0.0) == 0.0
    assert Registry([at_once, never]).retry_policy(endpoint())(JOB, RateLimited(), 0.0) is None


def test_a_plug_in_may_ask_to_be_first_or_last() -> None:
    """With pluggy's own options; even the last plug-in is asked before the core."""

    def plugin(name: str, **options: Any) -> Any:
        queue = type(name, (FifoQueue,), {})
        function = hookimpl(lambda self: queue, **options)
        return type(name, (), {"penstock_queue_discipline": function, "name": name})()

    last, first, plain = plugin("Last", trylast=True), plugin("First", tryfirst=True), plugin("Plain")
    assert order(Registry([first, plain])) == "First"
    assert order(Registry([plain, last])) == "Plain"
    assert order(Registry([last])) == "Last"


def test_all_admission_policies_are_asked() -> None:
    """The one with the highest precedence is asked first."""
    asked: list[str] = []
    for decide in Registry([Admits("a", asked), Admits("b", asked)]).admission_policies(endpoint()):
        decide(submission())
    assert asked == ["b", "a"]


def test_a_hook_may_do_without_its_arguments_or_have_more_of_its_own() -> None:
    """Additional parameters are allowed if they have a default."""

    class Own:
        @hookimpl
        def penstock_queue_discipline(self, kind: type = LastComeFirstServed) -> Callable[[], Queue]:
            return kind

    class Same:
        @hookimpl
        def penstock_queue_discipline(self, endpoint: Any = None) -> Callable[[], Queue]:
            assert endpoint is not None
            return LastComeFirstServed

    assert order(Registry([Own()])) == order(Registry([Same()])) == "LastComeFirstServed"


def test_modules_objects_and_classes_may_be_plug_ins() -> None:
    """A class is instantiated for each registry."""
    module = ModuleType("penstock_stack")
    module.penstock_queue_discipline = hookimpl(lambda endpoint: LastComeFirstServed)  # type: ignore[attr-defined]
    for plugin, name in ((module, "penstock_stack"), (Stack, "Stack"), (Stack(), "Stack")):
        registry = Registry([plugin])
        assert order(Registry([plugin])) == ("FifoQueue" if name == "Stack" else "LastComeFirstServed")
        assert [(p.name, p.hooks) for p in registry.plugins] == [(name, ["penstock_queue_discipline"])]
    assert Registry([Stack]).plugins[0].instance is not Registry([Stack]).plugins[0].instance


def test_a_plug_in_of_the_app_may_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """``App(plugins=["pkg:Plugin"])`` imports it, and it has the name that the class itself would have."""
    monkeypatch.setitem(sys.modules, "pkg_of_stack", cast("ModuleType", SimpleNamespace(Plugin=Stack)))
    registry = Registry(["pkg_of_stack:Plugin"])
    assert [(plugin.name, plugin.hooks) for plugin in registry.plugins] == [("Stack", ["penstock_queue_discipline"])]


@pytest.mark.parametrize(
    ("path", "cause"),
    [
        ("no_such_package:Plugin", "ModuleNotFoundError: No module named 'no_such_package'"),
        ("penstock:Plugin", "AttributeError: module 'penstock' has no attribute 'Plugin'"),
    ],
)
def test_a_named_plug_in_that_cannot_be_imported_is_refused(path: str, cause: str) -> None:
    """The message has the name as the app wrote it, and the cause. A survey lists it as broken."""
    complaint = rf"plug-in '{path}' of the app cannot be imported: {cause}; fix it, or remove it"
    with pytest.raises(PluginError, match=complaint):
        Registry([path])
    assert Registry([path], is_survey=True).plugins[0].state == "broken"


def test_every_hook_of_an_endpoint_receives_the_app() -> None:
    """A plug-in can keep its state for each app."""
    seen: list[App] = []

    class Stateful:
        @hookimpl
        def penstock_authenticator(self, app: App) -> None:
            seen.append(app)

        penstock_timeout_policy = penstock_authenticator
        penstock_admission_policy = penstock_authenticator
        penstock_queue_discipline = penstock_authenticator
        penstock_retry_policy = penstock_authenticator

    app = app_with()
    registry = Registry([Stateful], app=app)
    for resolve in (hook for name, hook in RESOLVERS.items() if hasattr(Stateful, name)):
        resolve(registry)
    assert seen == [app] * 5


def test_registries_know_nothing_of_each_other() -> None:
    """Nothing is global: each engine has its own registry."""
    Registry([returning("penstock_retry_policy", lambda *_: 1.0)])
    assert Registry().retry_policy(endpoint()) is retry_lost


def test_an_open_route_is_open() -> None:
    """An open route needs no authentication; other routes do."""
    registry = Registry([returning("penstock_authenticator", lambda submission: Principal("somebody"))])
    assert registry.authenticator(Route(path="/a", name="a", handler=defaults.livez, is_open=True)) is None
    assert registry.authenticator(Route(path="/b", name="b", handler=defaults.livez)) is not None


# ---- settings and checks


class Configured:
    """Exposes a setting through its hook."""

    class Settings(PluginSettings, frozen=True):
        """One plain setting and one secret."""

        word: str = "default"
        key: Secret = ""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    @hookimpl
    def penstock_cli_commands(self) -> list[click.Command]:
        return [click.Command(self.settings.word)]


def test_a_class_is_made_with_its_settings(offer: Callable[..., EntryPoint]) -> None:
    """The settings are looked up by the name of its entry point."""
    registry = Registry(offers=[offer("conf", Configured)], sources=sources({"conf": {"word": "given"}}))
    assert [command.name for command in registry.cli_commands()] == ["given"]


def test_settings_of_an_object_are_refused() -> None:
    """The app has already created it; the message says what to do instead."""
    plugin = Configured(Configured.Settings())
    with pytest.raises(PluginError, match=r"has no setting 'word'.*pass the class to App\(plugins=\[...\]\)"):
        Registry([plugin], sources=sources({"Configured": {"word": "x"}}))
    assert not Registry([plugin], sources=sources({"Configured": {"enabled": False}})).plugins[0].is_on


def test_settings_of_an_unknown_plug_in_are_refused() -> None:
    """The error is raised when the registry is created."""
    with pytest.raises(PluginError, match=r"an unknown plug-in 'Stck'.*did you mean Stack"):
        Registry([Stack], sources=sources({"Stck": {}}))


def test_a_plug_in_may_check_the_app() -> None:
    """It may refuse the app in its own words, which follow its name."""

    class Checks(Stack):
        def check(self, app: App) -> None:
            raise PluginError(f"no endpoint in {app.import_name}; name another")

    with pytest.raises(
        PluginError, match="plug-in 'Checks' of the app does not fit the app: no endpoint in tests; name"
    ):
        Registry([Checks], app=app_with())
    Registry([Checks])  # without an app there is nothing to check


def test_a_plug_in_that_is_off_is_not_imported(offer: Callable[..., EntryPoint]) -> None:
    """Its other settings are not read either, so an operator can switch off a broken plug-in."""
    missing = offer("gone")  # its module does not exist
    environ = {"PENSTOCK_GONE_ENABLED": "false", "PENSTOCK_GONE_ANYTHING": "1"}
    [plugin] = Registry(offers=[missing], sources=sources({"gone": {"other": 1}}, environ)).plugins
    assert (plugin.state, plugin.why, plugin.setting_names) == ("off", "switched off by a setting", None)


def test_a_plug_in_may_be_off_by_default() -> None:
    """A setting then switches it on."""

    class Shy(Stack):
        class Settings(PluginSettings, frozen=True):
            enabled: bool = False

        def __init__(self, settings: Settings) -> None: ...

    [plugin] = Registry([Shy]).plugins
    assert (plugin.state, plugin.why, plugin.hooks) == ("off", "not switched on", ["penstock_queue_discipline"])
    assert Registry([Shy], sources=sources({"Shy": {"enabled": True}})).plugins[0].is_on


# ---- names


def test_built_in_before_strangers_before_the_app(offer: Callable[..., EntryPoint]) -> None:
    """Precedence does not depend on the order in which the plug-ins were found."""
    ours, theirs = offer("z", named("Ours"), "penstock"), offer("a", named("Theirs"))
    assert order(Registry(offers=[theirs, ours])) == "Theirs"
    assert order(Registry(offers=[ours, theirs])) == "Theirs"
    assert order(Registry([named("Own")], offers=[ours, theirs])) == "Own"
    assert order(Registry(offers=[ours])) == "Ours"


def test_one_of_the_same_name_replaces(offer: Callable[..., EntryPoint]) -> None:
    """Another distribution's plug-in replaces Penstock's, the app's replaces both; those replaced are not imported."""
    ours, theirs = offer("auth", None, "penstock", "0.1"), offer("auth", named("Theirs"))
    registry = Registry(offers=[ours, theirs])
    assert order(registry) == "Theirs"
    assert [(p.distribution, p.state, p.why) for p in registry.plugins] == [
        ("penstock", "replaced", "by plug-in 'auth' of penstock-strange 1.2"),
        ("penstock-strange", "on", ""),
    ]
    own = named("Own")
    own.name = "auth"  # type: ignore[attr-defined]
    registry = Registry(
        [own], offers=[offer("auth", None, "penstock"), offer("auth", None, "two"), offer("auth", None, "x")]
    )
    assert order(registry) == "Own"
    assert [p.state for p in registry.plugins] == ["replaced", "replaced", "replaced", "on"]


def test_two_strangers_of_one_name_are_refused(offer: Callable[..., EntryPoint]) -> None:
    """It is unclear which is meant, so the error names both, unless the plug-in is switched off anyway."""
    offers = [offer("auth", named("A"), "penstock-a", "1"), offer("auth", named("B"), "penstock-b", "2")]
    with pytest.raises(
        PluginError, match=r"of penstock-b 2 has the same name as plug-in 'auth' of penstock-a 1; uninstall"
    ):
        Registry(offers=offers)
    registry = Registry(offers=offers, sources=sources(environ={"PENSTOCK_AUTH_ENABLED": "false"}))
    assert [plugin.state for plugin in registry.plugins] == ["replaced", "off"]


def test_the_same_twice_is_refused(offer: Callable[..., EntryPoint]) -> None:
    """Both twice in the app's list, and under two names."""
    plugin = Stack()
    with pytest.raises(PluginError, match="plug-in 'Stack' of the app is listed twice"):
        Registry([plugin, plugin])
    module = ModuleType("penstock_stack")
    module.penstock_queue_discipline = hookimpl(lambda: None)  # type: ignore[attr-defined]
    with pytest.raises(
        PluginError, match=r"of penstock-strange 1\.2 cannot be registered: ValueError: Plugin already registered"
    ):
        Registry(offers=[offer("a", module), offer("b", module)])


def test_no_name_can_be_taken_for_the_core() -> None:
    """A plug-in called "core" is a plug-in like any other."""
    asked: list[str] = []
    registry = Registry([Admits("core", asked)])
    assert registry.queue_discipline(endpoint()) is FifoQueue
    assert len(registry.admission_policies(endpoint())) == 1


# ---- what does not fit


class Misspelt:
    @hookimpl
    def penstock_queue_disciplin(self, endpoint: Endpoint) -> None: ...


class Greedy:
    @hookimpl
    def penstock_retry_policy(self, endpoint: Endpoint, weather: Any) -> None: ...


class Keyword:
    @hookimpl
    def penstock_routes(self, app: App, *, weather: Any) -> None: ...


class Wrapper:
    @hookimpl(wrapper=True)
    def penstock_routes(self, app: App) -> Iterator[None]:
        yield


class OldWrapper:
    @hookimpl(hookwrapper=True)
    def penstock_routes(self, app: App) -> Iterator[None]:
        yield


class Asynchronous:
    @hookimpl
    async def penstock_routes(self, app: App) -> None: ...


class Unmarked:
    def penstock_routes(self, app: App) -> None: ...


class Nothing:
    """Has no hook at all."""


class Unmakeable(Stack):
    def __init__(self) -> None:
        raise RuntimeError("no such database")


class Odd(Stack):
    Settings = dict


class Changeable(Stack):
    class Settings(PluginSettings, frozen=False):
        """Settings that a plug-in could change behind the operator's back."""


class WithoutParameter(Stack):
    class Settings(PluginSettings, frozen=True):
        """Settings that the class does not take."""

    def __init__(self) -> None: ...


class WithParameter(Stack):
    def __init__(self, limit: int) -> None: ...


MISFITS = [
    (Misspelt, "penstock_queue_disciplin, which is not a hook; did you mean penstock_queue_discipline?"),
    (
        Greedy,
        "penstock_retry_policy of .* takes 'weather', but the hook is passed only 'endpoint', 'app'; remove that",
    ),
    (Keyword, "penstock_routes of .* takes 'weather', but the hook is passed only 'app'"),
    (Wrapper, "penstock_routes of .* is a hook wrapper"),
    (OldWrapper, "penstock_routes of .* is a hook wrapper"),
    (Asynchronous, "penstock_routes of .* is async, but hooks are not awaited"),
    (Unmarked, "penstock_routes is not marked with @hookimpl"),
    (
        Nothing,
        "implements no hook; mark its functions with @hookimpl; there are: penstock_acceptor, penstock_admission",
    ),
    (Unmakeable, "cannot be created: RuntimeError: no such database"),
    (Odd, "are not a subclass of .*PluginSettings; write `class Settings.PluginSettings, frozen=True.`"),
    (
        Changeable,
        "the Settings of plug-in 'strange' can be changed; write `class Settings.PluginSettings, frozen=True.`",
    ),
    (WithoutParameter, "cannot be created: __init__ too many positional arguments; its class has Settings, so write"),
    (WithParameter, "cannot be created: __init__ missing a required argument: 'limit'; its class has no Settings, so"),
]


@pytest.mark.parametrize(("plugin", "complaint"), MISFITS, ids=[plugin.__name__ for plugin, _ in MISFITS])
def test_a_plug_in_that_does_not_fit_is_refused(plugin: type, complaint: str, offer: Callable[..., EntryPoint]) -> None:
    """The error is raised at creation and has the name, the cause and the fix; for a class and an object alike."""
    with pytest.raises(PluginError, match=complaint) as raised:
        Registry(offers=[offer("strange", plugin)])
    if plugin not in (Odd, Changeable):
        assert "plug-in 'strange' of penstock-strange 1.2" in str(raised.value)
    if plugin not in (Unmakeable, Odd, Changeable, WithoutParameter, WithParameter):  # their classes are at fault
        made = plugin()
        with pytest.raises(PluginError, match=complaint):
            Registry([made])


def test_an_import_error_names_the_distribution(offer: Callable[..., EntryPoint]) -> None:
    """It also has the fix, and the original exception as its cause."""
    with pytest.raises(PluginError) as raised:
        Registry(offers=[offer("gone")])
    assert str(raised.value) == (
        "plug-in 'gone' of penstock-strange 1.2 cannot be imported: ModuleNotFoundError: No module named "
        "'module_of_penstock_strange_gone'; switch it off with PENSTOCK_GONE_ENABLED=false, or uninstall "
        "penstock-strange"
    )
    assert isinstance(raised.value.__cause__, ModuleNotFoundError)


def test_a_hook_of_the_future_may_be_marked_as_optional() -> None:
    """Unknown hooks are accepted if they have pluggy's ``optionalhook``."""

    class Newer(Stack):
        @hookimpl(optionalhook=True)
        def penstock_weather(self) -> None: ...

    assert Registry([Newer]).plugins[0].hooks == ["penstock_queue_discipline"]


class Raising:
    """Its hook raises."""

    @hookimpl
    def penstock_authenticator(self) -> None:
        raise OSError("no database")


def test_a_hook_that_raises_is_reported_with_the_endpoint() -> None:
    """The error stops the start."""
    expected = (
        "penstock_authenticator of plug-in 'Raising' of the app raised for 'square': OSError: no database; fix it"
    )
    with pytest.raises(PluginError, match=expected):
        Registry([Raising]).authenticator(endpoint())


RESOLVERS: dict[str, Callable[[Registry], Any]] = {
    "penstock_tracer": lambda registry: registry.tracer(endpoint()),
    "penstock_authenticator": lambda registry: registry.authenticator(endpoint()),
    "penstock_timeout_policy": lambda registry: registry.timeout_policy(endpoint()),
    "penstock_admission_policy": lambda registry: registry.admission_policies(endpoint()),
    "penstock_queue_discipline": lambda registry: registry.queue_discipline(endpoint())(),
    "penstock_retry_policy": lambda registry: registry.retry_policy(endpoint()),
    "penstock_shutdown_policy": lambda registry: registry.shutdown_policy(app_with()),
    "penstock_observer": lambda registry: registry.observe(app_with()),
    "penstock_worker_setup": lambda registry: registry.worker_setups(),
    "penstock_routes": lambda registry: registry.routes(app_with()),
    "penstock_cli_commands": lambda registry: registry.cli_commands(),
}


@pytest.mark.parametrize("hook", RESOLVERS)
@pytest.mark.parametrize("kind", [RuntimeError, SystemExit])
def test_every_hook_that_raises_is_reported(hook: str, kind: type[BaseException]) -> None:
    """The error of any hook has the hook, the plug-in and the fix."""

    def implementation(self: object) -> None:
        raise kind("broken")

    plugin = type("Broken", (), {hook: hookimpl(implementation)})
    with pytest.raises(
        PluginError, match=rf"{hook} of plug-in 'Broken' of the app raised.*{kind.__name__}: broken; fix it"
    ):
        RESOLVERS[hook](Registry([plugin]))


async def asynchronous(*_arguments: Any) -> None: ...


WRONG = [
    ("penstock_authenticator", "key", "returned a str instead of a callable that takes 1 argument"),
    ("penstock_authenticator", lambda: None, "cannot be called with 1 argument: too many positional arguments"),
    ("penstock_authenticator", asynchronous, "returned an async function, which would not be awaited"),
    ("penstock_timeout_policy", Timeouts(), "returned a Timeouts instead of a callable"),
    (
        "penstock_admission_policy",
        lambda a, b: None,
        "cannot be called with 1 argument: missing a required argument: 'b'",
    ),
    ("penstock_queue_discipline", FifoQueue(), "returned a FifoQueue instead of a callable that takes no argument"),
    ("penstock_queue_discipline", dict, "returned a factory whose queues lack "),
    ("penstock_queue_discipline", lambda: 1 / 0, "the queue of .* cannot be created: ZeroDivisionError"),
    ("penstock_retry_policy", lambda job: None, "cannot be called with 3 arguments"),
    (
        "penstock_retry_policy",
        blocking(lambda job, error, now: None),
        "is marked as blocking, which this hook does not allow",
    ),
    ("penstock_shutdown_policy", 3.0, "returned a float instead of a callable"),
    ("penstock_observer", print, "returned a builtin_function_or_method instead of a dict"),
    ("penstock_observer", {"JobAnswered": print}, "'JobAnswered', which is not a type of record"),
    ("penstock_observer", {JobAnswered: None}, r"\(JobAnswered\) of .* returned a NoneType"),
    ("penstock_worker_setup", 3, "returned a int instead of the path of a function, 'package.module:function'"),
    ("penstock_worker_setup", "module.function", "returned 'module.function', which is not the path of a function"),
    ("penstock_tracer", "sampled", "returned a str instead of a callable that takes 1 argument"),
    ("penstock_routes", 3, "returned something that cannot be iterated over"),
    ("penstock_routes", ["/x"], "returned a str in the place of a Route"),
    ("penstock_routes", [Route(path="/x", name="x", handler=lambda: None)], r"\(/x\) of .*called with 2 arguments"),  # type: ignore[misc,arg-type]
    ("penstock_cli_commands", 3, "returned something that cannot be iterated over"),
    ("penstock_cli_commands", [print], "in the place of a click command with a name"),
]


@pytest.mark.parametrize(
    ("hook", "result", "complaint"), WRONG, ids=[f"{hook}-{n}" for n, (hook, *_) in enumerate(WRONG)]
)
def test_the_result_of_a_hook_is_checked_before_the_first_request(hook: str, result: Any, complaint: str) -> None:
    """A result that could never work stops the start, instead of failing each job later."""
    with pytest.raises(PluginError, match=complaint) as raised:
        RESOLVERS[hook](Registry([returning(hook, result)]))
    assert "plug-in 'strange' of the app" in str(raised.value)


# ---- what raises while serving


DECISIONS: dict[str, Callable[[Registry], Any]] = {
    "penstock_authenticator": lambda r: cast("Any", r.authenticator(endpoint()))(submission()),
    "penstock_timeout_policy": lambda r: cast("Any", r.timeout_policy(endpoint()))(submission()),
    "penstock_admission_policy": lambda r: r.admission_policies(endpoint())[0](submission()),
    "penstock_retry_policy": lambda r: r.retry_policy(endpoint())(JOB, RateLimited(), 0.0),
}


@pytest.mark.parametrize("hook", DECISIONS)
def test_a_decision_that_raises_is_a_hook_error(hook: str, caplog: pytest.LogCaptureFixture) -> None:
    """It is counted, and logged with its distribution and traceback; the caller does not learn the exception."""
    registry = Registry([raising(hook, OSError("secret place"))])
    with pytest.raises(HookError) as raised:
        DECISIONS[hook](registry)
    assert str(raised.value) == f"{hook} of plug-in 'strange' failed"
    assert raised.value.reason == "OSError: secret place"
    [record] = caplog.records
    assert record.msg == f"{hook} of plug-in 'strange' of the app raised OSError: secret place"
    assert "Traceback" in record.fields["traceback"]  # type: ignore[attr-defined]
    assert registry.status()["strange"]["failures"] == {hook: 1}


@pytest.mark.parametrize("error", [SystemExit(3), GeneratorExit(), BaseException("panic")])
@pytest.mark.parametrize("hook", DECISIONS)
def test_nothing_that_a_decision_raises_ends_the_server(hook: str, error: BaseException) -> None:
    """``sys.exit()``, or a panic of a library written in Rust, fails one job, as any exception does."""
    with pytest.raises(HookError):
        DECISIONS[hook](Registry([raising(hook, error)]))


@pytest.mark.parametrize("hook", DECISIONS)
def test_an_interrupt_from_the_keyboard_is_not_a_failure(hook: str) -> None:
    """Ctrl-C may arrive while a decision is being made. It is not caught, and not counted."""
    registry = Registry([raising(hook, KeyboardInterrupt())])
    with pytest.raises(KeyboardInterrupt):
        DECISIONS[hook](registry)
    assert registry.status()["strange"]["failures"] == {}


@pytest.mark.parametrize("hook", DECISIONS)
def test_a_refusal_is_not_a_failure(hook: str) -> None:
    """A PenstockError is the decision, and reaches the caller unchanged."""
    refusal = RateLimited("slower", retry_after=2)
    registry = Registry([raising(hook, refusal)])
    with pytest.raises(RateLimited) as raised:
        DECISIONS[hook](registry)
    assert raised.value is refusal
    assert registry.status()["strange"]["failures"] == {}


@pytest.mark.parametrize(
    ("hook", "decision"),
    [
        ("penstock_authenticator", "admin"),
        ("penstock_timeout_policy", 3.0),
        ("penstock_admission_policy", False),
        ("penstock_retry_policy", "soon"),
        ("penstock_retry_policy", -1.0),
        ("penstock_retry_policy", float("nan")),
    ],
)
def test_a_decision_of_the_wrong_type_is_a_hook_error(hook: str, decision: Any) -> None:
    """It affects only the job that it was made for."""
    registry = Registry([returning(hook, lambda *_: decision)])
    with pytest.raises(HookError):
        DECISIONS[hook](registry)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (
            lambda asked: setattr(asked, "priority", "urgent"),
            "priority = 'urgent' is not one of interactive, normal, batch",
        ),
        (lambda asked: asked.response_headers.append(("x-note", "a\r\nb")), "header x-note must be a str of one line"),
    ],
    ids=["priority", "header"],
)
def test_a_submission_refuses_a_wrong_change(
    change: Callable[[Submission], None], complaint: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The failure is that of the plug-in that tried to make the change, and the log names it."""
    registry = Registry([returning("penstock_admission_policy", change)])
    with pytest.raises(HookError):
        DECISIONS["penstock_admission_policy"](registry)
    assert "plug-in 'strange'" in caplog.text
    assert complaint in caplog.text


def test_a_wrong_principal_is_not_shown(caplog: pytest.LogCaptureFixture) -> None:
    """An authenticator that returns the token by mistake does not leak it."""
    registry = Registry([returning("penstock_authenticator", lambda _: "hunter2")])
    with pytest.raises(HookError):
        DECISIONS["penstock_authenticator"](registry)
    assert "hunter2" not in caplog.text
    assert "it returned a str instead of a Principal or None" in caplog.text


def test_a_decision_passes_through_its_guard() -> None:
    """A valid decision is not changed."""
    principal, timeouts = Principal("ada"), Timeouts(queue=1)
    for hook, decision in (("penstock_authenticator", principal), ("penstock_timeout_policy", timeouts)):
        assert DECISIONS[hook](Registry([returning(hook, lambda *_, decision=decision: decision)])) is decision
    assert DECISIONS["penstock_retry_policy"](Registry([returning("penstock_retry_policy", lambda *_: 2)])) == 2


@pytest.mark.parametrize("error", [OSError("broken"), SystemExit(3)])
def test_a_release_that_raises_has_no_effect(error: BaseException) -> None:
    """The answer still reaches its caller, and the other policies are released all the same."""
    released: list[JobAnswered] = []

    def fail(_answered: JobAnswered) -> None:
        raise error

    bad = returning("penstock_admission_policy", lambda _: fail, name="bad")
    good = returning("penstock_admission_policy", lambda _: released.append, name="good")
    registry = Registry([good, bad])
    ours = submission()
    for decide in registry.admission_policies(endpoint()):
        release = decide(ours)
        assert release is not None
        ours.add_release(release)
    ours.close(ANSWERED)
    assert released == [ANSWERED]
    assert registry.status()["bad"]["failures"] == {"penstock_admission_policy": 1}


@pytest.mark.parametrize(
    "decision", [None, "soon", -1.0, float("nan"), OSError("broken"), SystemExit(3), RateLimited()]
)
def test_nothing_keeps_an_engine_from_stopping(decision: Any) -> None:
    """A shutdown policy that fails, in any way, grants the drain that was asked for."""

    def decide(_request: ShutdownRequest) -> Any:
        if isinstance(decision, BaseException):
            raise decision
        return decision

    registry = Registry([returning("penstock_shutdown_policy", decide)])
    assert registry.shutdown_policy(app_with())(ShutdownRequest(drain=7.0)) == 7.0
    assert registry.status()["strange"]["failures"] == {"penstock_shutdown_policy": 1}


def test_a_route_that_raises_is_a_hook_error() -> None:
    """So is one that returns None."""

    def fail(request: RouteRequest, engine: Any) -> RouteResponse:
        raise OSError("broken")

    def leave(request: RouteRequest, engine: Any) -> RouteResponse:
        sys.exit(3)

    def refuse(request: RouteRequest, engine: Any) -> RouteResponse:
        raise RateLimited

    def split(request: RouteRequest, engine: Any) -> RouteResponse:
        return RouteResponse(body=b"", headers={"x-a": "1\r\nx-b: 2"})

    handlers = {"/a": fail, "/b": lambda request, engine: None, "/c": refuse, "/d": leave, "/e": split}
    routes = [Route(path=path, name=path, handler=cast("Any", handler)) for path, handler in handlers.items()]
    found = {route.path: route for route in Registry([returning("penstock_routes", routes)]).routes(app_with())}
    for path in handlers:
        with pytest.raises(RateLimited if path == "/c" else HookError):
            found[path].handler(ROUTE_REQUEST, cast("Any", None))


@pytest.mark.parametrize("error", [OSError("broken"), SystemExit(3), BaseException("panic")])
def test_a_route_that_waits_is_guarded_too(error: BaseException) -> None:
    """So are the streams of routes. A cancellation passes: it is not a failure."""

    async def fail(request: RouteRequest, engine: Any) -> RouteResponse:
        raise error

    async def leave(request: RouteRequest, engine: Any) -> RouteResponse:
        raise asyncio.CancelledError

    async def pieces() -> AsyncIterator[bytes]:
        yield b"first"
        raise error

    async def stream(request: RouteRequest, engine: Any) -> RouteResponse:
        return RouteResponse(stream=pieces())

    def text(request: RouteRequest, engine: Any) -> RouteResponse:
        return RouteResponse(stream=cast("Any", ["text"]))

    handlers: dict[str, Any] = {"fail": fail, "leave": leave, "stream": stream, "text": text}
    routes = [Route(path=f"/{name}", name=name, handler=handler) for name, handler in handlers.items()]
    found = {route.name: route for route in Registry([returning("penstock_routes", routes)]).routes(app_with())}
    assert [name for name, route in found.items() if route.waits] == ["fail", "leave", "stream"]

    async def call(name: str) -> None:
        answer: Any = await cast("Any", found[name].handler(ROUTE_REQUEST, cast("Any", None)))
        assert await anext(answer.stream) == b"first"
        await anext(answer.stream)

    for name in ("fail", "stream"):
        with pytest.raises(HookError):
            asyncio.run(call(name))
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(call("leave"))
    with pytest.raises(HookError):
        found["text"].handler(ROUTE_REQUEST, cast("Any", None))


def test_the_blocking_mark_survives_the_guard() -> None:
    """The caller must know whether a decision blocks."""
    decide = blocking(lambda submission: None)
    registry = Registry(
        [returning("penstock_authenticator", decide), returning("penstock_admission_policy", decide, name="b")]
    )
    assert is_blocking(cast("Any", registry.authenticator(endpoint())))
    assert is_blocking(registry.admission_policies(endpoint())[0])
    plain = Registry([returning("penstock_authenticator", lambda submission: None)])
    assert not is_blocking(cast("Any", plain.authenticator(endpoint())))


# ---- observers


def test_observers_are_called_by_type() -> None:
    """All observers of a type are called; without an observer, there is nothing to call."""
    first: list[Any] = []
    second: list[Any] = []
    registry = Registry(
        [
            returning("penstock_observer", {JobAnswered: first.append}, name="a"),
            returning("penstock_observer", {JobAnswered: second.append}, name="b"),
        ]
    )
    registry.observe(app_with())
    registry.observe(app_with())  # once is enough
    tell = registry.observer_of(JobAnswered)
    assert tell is not None
    tell(ANSWERED)
    assert first == second == [ANSWERED]
    assert registry.observer_of(WorkerReady) is None


@pytest.mark.parametrize("error", [ZeroDivisionError(), SystemExit(3)])
def test_an_observer_that_raises_affects_no_other(error: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    """It is logged once, counted each time and reported as HookFailed; the other observers are still called."""
    seen: list[Any] = []

    def fail(record: JobAnswered) -> None:
        raise error

    registry = Registry(
        [
            returning("penstock_observer", {JobAnswered: seen.append, HookFailed: seen.append}, name="good"),
            returning("penstock_observer", {JobAnswered: fail}, name="bad"),
        ]
    )
    registry.observe(app_with())
    tell = registry.observer_of(JobAnswered)
    assert tell is not None
    tell(ANSWERED)
    tell(ANSWERED)
    failed = HookFailed(plugin="bad", hook="penstock_observer", error=type(error).__name__)
    assert seen == [failed, ANSWERED, failed, ANSWERED]
    assert registry.status()["bad"]["failures"] == {"penstock_observer": 2}
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


def test_an_observer_of_failures_that_raises_does_not_recurse() -> None:
    """Its own failure is only logged and counted."""
    registry = Registry([returning("penstock_observer", {JobAnswered: lambda r: 1 / 0, HookFailed: lambda r: 1 / 0})])
    registry.observe(app_with())
    tell = registry.observer_of(JobAnswered)
    assert tell is not None
    tell(ANSWERED)
    assert registry.status()["strange"]["failures"] == {"penstock_observer": 2}


def test_the_record_of_a_dead_worker_has_two_names() -> None:
    """Plug-ins may import it by its older name."""
    assert WorkerLost is WorkerDied


# ---- failures


def test_the_same_failure_is_logged_once_in_a_while(caplog: pytest.LogCaptureFixture) -> None:
    """The log line has the count so far. Failures of another hook or plug-in are logged separately."""
    clock = MockClock()
    failures = HookFailures(clock)
    plugin = Registry([Stack]).plugins[0]
    for _ in range(3):
        failures.add(plugin, "penstock_authenticator", OSError("x"))
    failures.add(plugin, "penstock_observer", OSError("x"))
    clock.advance(SAME_FAILURE_SECONDS)
    failures.add(plugin, "penstock_authenticator", OSError("x"))
    counts = [(record.fields["hook"], record.fields["failures"]) for record in caplog.records]  # type: ignore[attr-defined]
    assert counts == [("penstock_authenticator", 1), ("penstock_observer", 1), ("penstock_authenticator", 4)]


def test_a_failure_in_another_thread_is_reported_on_the_engine_s() -> None:
    """So observers need no lock."""
    failures = HookFailures()
    reported: list[HookFailed] = []
    later: list[Callable[[], None]] = []
    failures.notify = reported.append
    failures.run_in_engine = later.append
    [plugin] = Registry([Stack]).plugins
    failures.add(plugin, "penstock_authenticator", OSError("x"), may_be_off_thread=True)
    assert reported == []
    later[0]()
    failures.add(plugin, "penstock_observer", ValueError("x"))
    assert [record.error for record in reported] == ["OSError", "ValueError"]


def test_a_failure_after_the_end_is_not_reported() -> None:
    """A blocking decision may fail after the engine's loop has closed; the error is the usual one."""
    failures = HookFailures()

    def closed(_action: Callable[[], None]) -> None:
        raise RuntimeError("Event loop is closed")

    failures.notify = [].append
    failures.run_in_engine = closed
    [plugin] = Registry([Stack]).plugins
    assert failures.add(plugin, "penstock_authenticator", OSError("x"), may_be_off_thread=True).code == "hook-error"


# ---- the survey


def test_a_survey_goes_on_where_a_plug_in_is_broken(offer: Callable[..., EntryPoint]) -> None:
    """It is listed as broken, with its error; the others are not affected."""
    offers = [offer("gone"), offer("bad", Misspelt), offer("greedy", Greedy), offer("stack", named("Stacked"))]
    registry = Registry(offers=offers, sources=sources({"nobody": {}}), is_survey=True)
    assert {plugin.name: plugin.state for plugin in registry.plugins} == {
        "bad": "broken",
        "gone": "broken",
        "greedy": "broken",
        "stack": "on",
    }
    assert "cannot be imported" in next(plugin.why for plugin in registry.plugins if plugin.name == "gone")
    assert registry.complaints == [
        "there are settings for an unknown plug-in 'nobody' (App(settings=...)); there are: bad, gone, greedy, stack"
    ]
    assert order(registry) == "Stacked"


def test_a_survey_of_two_of_one_name_has_both(offer: Callable[..., EntryPoint]) -> None:
    """The second one is broken, since it is unclear which is meant."""
    offers = [offer("auth", named("A"), "penstock-a"), offer("auth", named("B"), "penstock-b")]
    states = [(plugin.distribution, plugin.state) for plugin in Registry(offers=offers, is_survey=True).plugins]
    assert states == [("penstock-a", "replaced"), ("penstock-b", "broken")]


@pytest.mark.parametrize("hook", RESOLVERS)
def test_a_survey_of_an_app_calls_each_hook(hook: str) -> None:
    """The hooks are called as at start-up; plug-ins that raise are broken."""

    def implementation(self: object) -> None:
        raise RuntimeError("broken")

    plugin = type("Broken", (), {hook: hookimpl(implementation)})
    registry = Registry.survey(app_with(plugins=[plugin, Stack]), {})
    states = {plugin.name: plugin.state for plugin in registry.plugins}
    assert (states["Broken"], states["Stack"]) == ("broken", "on")


def test_a_plug_in_describes_itself(offer: Callable[..., EntryPoint]) -> None:
    """The description is ready for JSON, has the value and origin of each setting, and has no secrets."""
    configured = sources({"conf": {"word": "given"}}, {"PENSTOCK_CONF_KEY": "hunter2"})
    [plugin] = Registry(offers=[offer("conf", Configured)], sources=configured).plugins
    described = plugin.describe()
    settings = described.pop("settings")
    assert described == {
        "name": "conf",
        "distribution": "penstock-strange",
        "version": "1.2",
        "state": "on",
        "why": None,
        "hooks": ["penstock_cli_commands"],
    }
    assert [(s["name"], s["type"], s["default"], s["value"], s["from"]) for s in settings] == [
        ("enabled", "bool", True, True, "default"),
        ("word", "str", "default", "given", "App(settings=...)"),
        ("key", "secret", None, "(set)", "PENSTOCK_CONF_KEY"),
    ]
