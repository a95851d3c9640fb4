from __future__ import annotations

import abc
import dataclasses
import functools
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import msgspec
import pytest

from penstock import Upload
from penstock.app import App, Endpoint
from penstock.context import Context
from penstock.errors import DeclarationError
from penstock.policies import Batching, Jobs, OnLost, Recycle, Retries, Timeouts


@pytest.fixture
def app() -> App:
    return App("shop")


def square(input: float) -> float:
    return input**2


async def sleep(seconds: float) -> float:
    return seconds


def count(n: int) -> Iterator[int]:
    yield from range(n)


async def tokens(n: int) -> AsyncIterator[int]:
    yield n


def batch(items: list[float]) -> list[float]:
    return items


class Model:
    def setup(self, device: str) -> None: ...

    def predict(self, x: int, context: Context) -> int:
        return x

    def teardown(self) -> None: ...


def declare(app: App, handler: Any = square, path: str = "/square", **options: Any) -> Endpoint:
    assert app.endpoint(path, **options)(handler) is handler
    return app.endpoints[-1]


# ---- what is declared


def test_endpoints_keep_their_order_and_their_defaults(app: App) -> None:
    """An endpoint is named after its path, and has the documented defaults; its index is its position."""
    first, second = declare(app), declare(app, Model, "/v1/model", name="model")
    assert app.endpoints == [first, second]
    assert [(e.name, e.path) for e in app.endpoints] == [("square", "/square"), ("model", "/v1/model")]
    assert (first.timeouts, first.retries, first.batching) == (Timeouts(), Retries(), None)
    assert (first.max_queue, first.idempotent, first.concurrency) == (1000, True, 1)
    assert first.handler is square
    assert second.is_class
    assert declare(app, square, "/").name == "root"


@pytest.mark.parametrize(
    ("handler", "concurrency", "mode", "is_stream"),
    [
        (square, 1, "inline", False),
        (square, 4, "thread", False),
        (count, 1, "inline", True),
        (count, 2, "thread", True),
        (sleep, 1, "task", False),
        (sleep, 8, "task", False),
        (tokens, 8, "task", True),
        (Model, 1, "inline", False),
    ],
)
def test_the_mode_follows_from_the_handler(
    app: App, handler: Any, concurrency: int, mode: str, *, is_stream: bool
) -> None:
    """``def`` runs inline in one slot and in threads in several; ``async def`` runs as a task."""
    endpoint = declare(app, handler, concurrency=concurrency)
    assert (endpoint.mode, endpoint.is_stream) == (mode, is_stream)
    assert endpoint.is_async == (mode == "task")


def test_a_forgotten_self_is_refused(app: App) -> None:
    """A method without ``self`` would lose its first field; the message has the line to write."""

    class NoSelf:
        def predict(x: int) -> int:  # noqa: N805 - wrong on purpose
            return x

    class Nothing:
        def predict() -> int:  # type: ignore[misc]
            return 1

    class SetupWithoutSelf:
        def setup(device): ...  # noqa: N805 - wrong on purpose
        def predict(self, x: int) -> int: ...

    with pytest.raises(DeclarationError, match=r"NoSelf\.predict has no self: write `def predict\(self, x\)`"):
        declare(app, NoSelf)
    with pytest.raises(DeclarationError, match=r"Nothing\.predict has no self: write `def predict\(self\)`"):
        declare(app, Nothing)
    with pytest.raises(DeclarationError, match=r"SetupWithoutSelf\.setup has no self"):
        declare(app, SetupWithoutSelf)


def test_devices_must_be_taken(app: App) -> None:
    """``devices=`` for a class whose ``setup`` takes no device, or that has no ``setup``, is an error."""

    class WithoutSetup:
        def predict(self, x: int) -> int: ...

    class WithoutDevice(WithoutSetup):
        def setup(self) -> None: ...

    with pytest.raises(
        DeclarationError, match=r"devices=\['cpu'\] would have no effect, because there is no setup\(\)"
    ):
        declare(app, WithoutSetup, devices=["cpu"])
    with pytest.raises(DeclarationError, match="because the setup of WithoutDevice does not take one"):
        declare(app, WithoutDevice, devices=["cpu"])


def test_a_media_type_is_checked(app: App) -> None:
    """``media_type`` is a type and a subtype, perhaps with parameters."""
    assert declare(app, count, media_type="text/plain; charset=utf-8").media_type == "text/plain; charset=utf-8"
    for wrong in ("wav", "audio/", "a/b\r\nX: y", 5):
        with pytest.raises(DeclarationError, match="is not a media type"):
            App("tests").endpoint("/a", media_type=wrong)  # type: ignore[arg-type] # wrong on purpose


def test_a_batch_does_not_stream(app: App) -> None:
    """A batching handler cannot be annotated to return an iterator."""

    def handler(batch: list[int]) -> Iterator[int]:
        return iter(batch)

    with pytest.raises(DeclarationError, match="batching cannot be combined with a stream"):
        declare(app, handler, batching=Batching(max_size=2))


def test_the_self_of_a_method_is_not_a_field(app: App) -> None:
    """``predict`` is read as an instance would have it, whether it is a plain, a static or a class method."""

    class Static:
        @staticmethod
        def predict(x: int) -> int:
            return x

    class Klass:
        @classmethod
        async def predict(cls, x: int) -> int:
            return x

    for number, cls in enumerate((Model, Static, Klass)):
        endpoint = declare(app, cls, f"/{number}")
        instance = cls()
        codec = endpoint.codec
        assert set(codec.input_schema()["properties"]) == {"x"}
        result = codec.call(instance.predict, codec.decode(b'{"x": 1}'), Context())
        if endpoint.is_async:
            result.close()
        else:
            assert result == 1
    assert app.endpoints[0].codec.context_parameter == "context"
    assert app.endpoints[2].is_async


def test_local_types_and_those_of_the_class_body_are_found(app: App) -> None:
    """Postponed annotations may use the names around the handler."""

    class Local(msgspec.Struct):
        a: int

    @app.endpoint("/f")
    def handler(x: Local, n: int) -> Local:
        return x

    @app.endpoint("/c")
    class Holder:
        class Inner(msgspec.Struct):
            b: int

        def predict(self, x: Inner) -> int:
            return x.b

    function, method = app.endpoints
    assert handler(*dataclasses.astuple(dataclasses.make_dataclass("D", ["x", "n"])(1, 2))) == 1
    assert function.codec.call(handler, function.codec.decode(b'{"x": {"a": 1}, "n": 2}')) == Local(1)
    assert method.codec.call(Holder().predict, method.codec.decode(b'{"b": 3}')) == 3


def test_status_lines(app: App) -> None:
    """``repr`` sums up the object in one line."""
    assert repr(app) == "<App shop, 0 endpoints, 0 pools>"
    assert repr(declare(app)) == "<Endpoint square POST /square inline, pool default>"
    assert repr(declare(app, tokens, "/tokens", concurrency=8)) == (
        "<Endpoint tokens POST /tokens task x 8, stream, pool default>"
    )
    assert repr(declare(app, batch, "/batch", batching=Batching(max_size=4), devices=["cpu"])) == (
        "<Endpoint batch POST /batch inline, batches of 4, pool batch>"
    )
    assert repr(app) == "<App shop, 3 endpoints, 2 pools>"
    assert repr(app.pools["default"]) == "<Pool default, 1 worker, trio: square, tokens>"
    assert repr(app.pools["batch"]) == "<Pool batch, 1 worker on cpu, trio: batch>"


# ---- pools


def test_functions_share_and_classes_do_not(app: App) -> None:
    """Functions share the default pool; a class, or a function with workers, devices or runtime, has its own."""
    declare(app, square, "/a")
    declare(app, sleep, "/b", concurrency=3)
    declare(app, Model, "/c")
    declare(app, square, "/d", workers=2)
    declare(app, square, "/e", devices=["x", "y", "z"])
    declare(app, sleep, "/f", runtime="asyncio")
    pools = app.pools
    assert {name: [e.name for e in pool.endpoints] for name, pool in pools.items()} == {
        "default": ["a", "b"],
        "c": ["c"],
        "d": ["d"],
        "e": ["e"],
        "f": ["f"],
    }
    assert (pools["default"].workers, pools["d"].workers, pools["e"].workers) == (1, 2, 3)
    assert (pools["default"].runtime, pools["f"].runtime) == ("trio", "asyncio")
    assert app.endpoints[3].pool == "d"


def test_a_named_pool_is_shared_and_its_options_with_it(app: App) -> None:
    """Within a pool, an option set by one endpoint holds for all; equal values do not clash."""
    declare(app, Model, "/a", pool="gpu", workers=3)
    declare(app, Model, "/b", pool="gpu", devices=["cuda:0", "cuda:1"])
    declare(app, square, "/c", pool="gpu", workers=3, runtime="trio")
    (pool,) = app.pools.values()
    assert (pool.workers, pool.devices, pool.runtime) == (3, ("cuda:0", "cuda:1"), "trio")
    assert [pool.device_of(place) for place in range(3)] == ["cuda:0", "cuda:1", "cuda:0"]


def test_a_pool_without_devices_names_none(app: App) -> None:
    """``device_of`` returns None if the pool has no devices."""
    declare(app)
    assert app.pools["default"].device_of(5) is None


def test_capacity_serves_every_concurrency(app: App) -> None:
    """The units of a worker divide evenly by the concurrency of each endpoint."""
    for path, concurrency in (("/a", 4), ("/b", 6), ("/c", 1)):
        declare(app, sleep, path, concurrency=concurrency)
    pool = app.pools["default"]
    assert pool.capacity == 12
    assert [pool.capacity // e.concurrency for e in pool.endpoints] == [3, 2, 12]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"workers": 1}, {"workers": 2}),
        ({"devices": ["a"]}, {"devices": ["b"]}),
        ({"runtime": "trio"}, {"runtime": "asyncio"}),
    ],
)
def test_a_pool_cannot_be_two_things(app: App, one: dict[str, Any], other: dict[str, Any]) -> None:
    """Different values for one pool are refused, and the endpoint is not added."""
    declare(app, square, "/a", pool="p", **one)
    option = next(iter(one))
    with pytest.raises(DeclarationError, match=f"endpoint 'b': {option}=.*'a' in the same pool 'p'.*make them equal"):
        declare(app, square, "/b", pool="p", **other)
    assert len(app.endpoints) == len(app.pools["p"].endpoints) == 1


# ---- declared pools


def test_a_pool_may_be_declared_before_or_after_its_endpoints(app: App) -> None:
    """Options that both may set come from either."""
    recycle = Recycle(attempts=100)
    app.pool("gpu", workers=2, recycle=recycle, spares=1)
    declare(app, Model, "/a", pool="gpu", devices=["cuda:0"])
    declare(app, Model, "/b")
    app.pool("b", spares=2)
    gpu, own = app.pools["gpu"], app.pools["b"]
    assert (gpu.workers, gpu.devices, gpu.recycle, gpu.spares) == (2, ("cuda:0",), recycle, 1)
    assert (own.workers, own.recycle, own.spares) == (1, None, 2)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"workers": 0}, "pool 'gpu': workers=0 is invalid"),
        ({"spares": -1}, "pool 'gpu': spares=-1 is invalid; use an integer of at least 0"),
        ({"spares": True}, "spares=True is invalid"),
        ({"recycle": 100}, r"recycle=100 is not a policy; write recycle=Recycle\(attempts=10_000\)"),
        ({"devices": "cuda:0"}, "is a str, not a list"),
        ({"runtime": "uvloop"}, "runtime='uvloop' is unknown"),
    ],
)
def test_a_pool_is_declared_with_options_that_mean_something(app: App, options: dict[str, Any], words: str) -> None:
    """The error has the pool's name and the fix."""
    with pytest.raises(DeclarationError, match=words):
        app.pool("gpu", **options)


def test_a_pool_and_its_endpoints_do_not_contradict_each_other(app: App) -> None:
    """Whichever comes second is refused, and changes nothing."""
    app.pool("gpu", workers=2)
    with pytest.raises(DeclarationError, match=r"endpoint 'a': workers=3, but app.pool\('gpu'\) has workers=2; remove"):
        declare(app, square, "/a", pool="gpu", workers=3)
    declare(app, square, "/b", pool="cpu", workers=3)
    with pytest.raises(DeclarationError, match="workers=3"):
        app.pool("cpu", workers=2)
    assert app.pools["cpu"].workers == 3
    with pytest.raises(DeclarationError, match="pool 'gpu': it is declared already; put all options into one"):
        app.pool("gpu", spares=1)


def test_a_declared_pool_is_used(app: App) -> None:
    """A misspelt name is found when the app is served, because its endpoints may come later."""
    declare(app, square, "/a", pool="gpu")
    app.pool("gpus", spares=1)
    with pytest.raises(DeclarationError, match=r"pool 'gpus' is declared, but no endpoint is in it; did you mean gpu"):
        app.freeze()


def test_a_check_needs_a_model_that_has_one(app: App) -> None:
    """Otherwise it would have no effect; nor may the method want arguments."""

    class Checked(Model):
        def check(self) -> None: ...

    declare(app, Model, "/a", pool="gpu")
    app.pool("gpu", recycle=Recycle(check=10.0))
    with pytest.raises(DeclarationError, match=r"none of its models has a check\(\); define `def check\(self\)`"):
        app.freeze()
    declare(app, Checked, "/b", pool="gpu")
    app.freeze()
    with pytest.raises(DeclarationError, match="the app is already being served"):
        app.pool("other")


# ---- what is refused


class _NoPredict: ...


class _Greedy:
    def __init__(self, weights: str) -> None: ...

    def predict(self, x: int) -> None: ...


class _BigSetup(Model):
    def setup(self, device: str, more: int) -> None: ...


class _BigTeardown(Model):
    def teardown(self, why: str) -> None: ...


class _YieldingSetup(Model):
    def setup(self) -> Iterator[None]:
        yield


class _Abstract(abc.ABC):
    @abc.abstractmethod
    def predict(self, x: int) -> None: ...


class _Attribute:
    predict = 5


class _Callable:
    def __call__(self, x: int) -> None: ...


@pytest.mark.parametrize(
    ("handler", "words"),
    [
        (_NoPredict, "_NoPredict has no predict"),
        (_Greedy, r"_Greedy\(\) requires weights.*setup"),
        (_BigSetup, "setup requires device, more, but is passed at most one argument, the device; add defaults"),
        (_BigTeardown, "teardown requires why, but is passed no arguments"),
        (_YieldingSetup, "setup yields"),
        (_Abstract, "abstract"),
        (_Attribute, r"predict is 5, not a method"),
        (_Callable(), "neither a function nor a class; write a `def`"),
        (functools.partial(square, 1), "neither a function nor a class; write a `def`"),
        (functools.lru_cache(square), "neither a function nor a class; write a `def`"),
        (len, "neither a function nor a class; write a `def`"),
        (None, "neither a function nor a class"),
    ],
    ids=[
        "no-predict",
        "greedy",
        "big-setup",
        "big-teardown",
        "yielding-setup",
        "abstract",
        "attribute",
        "callable-instance",
        "partial",
        "wrapped",
        "builtin",
        "none",
    ],
)
def test_handlers_that_cannot_be_served_are_refused(app: App, handler: Any, words: str) -> None:
    """The refusal names the endpoint and the fix, and leaves the app unchanged."""
    with pytest.raises(DeclarationError, match=f"endpoint 'square'.*{words}"):
        declare(app, handler)
    assert app.endpoints == []


def test_a_served_app_takes_no_further_endpoints(app: App) -> None:
    """Its workers would not have them: the error says so where the endpoint is declared, and names the fix."""
    declare_later = app.endpoint("/late")
    app.freeze()
    with pytest.raises(DeclarationError, match=r"endpoint 'late': the app is being served.*before asgi\(\)"):
        declare_later(lambda: None)
    assert (app.endpoints, app.pools) == ([], {})


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("square", "must start with a slash; write '/square'"),
        ("", "must start with a slash"),
        ("/a/{id", "'{id' is not a variable, which is a whole segment"),
        ("/a/{id}.json", "is not a variable"),
        ("/a/{}", "does not have the name of a parameter"),
        ("/a/{two-words}", "does not have the name of a parameter"),
        ("/a/{class}", "does not have the name of a parameter"),
        ("/a/{id:path}", "does not have the name of a parameter"),
        ("/{a}/{a}", "occurs twice"),
        ("/-/{id}", "reserved by Penstock"),
        ("/a?b=1", "a path cannot contain"),
        ("/a#b", "a path cannot contain"),
        ("/a b", "a path cannot contain"),
        ("/a%20b", "a path cannot contain"),
        ("/a\n", "a path cannot contain"),
        ("/\udce9.model", "a path cannot contain"),  # from the name of a file that is not UTF-8
        ("//a", "a path cannot contain"),
        ("/livez", "reserved by Penstock"),
        ("/readyz", "reserved by Penstock"),
        ("/metrics", "reserved by Penstock"),
        ("/-/status", "reserved by Penstock"),
        ("/-", "reserved by Penstock"),
        (5, "is not a path"),
        (None, "is not a path"),
    ],
)
def test_paths_that_cannot_be_served_are_refused(app: App, path: Any, words: str) -> None:
    """A path is plain and not one that Penstock serves itself."""
    with pytest.raises(DeclarationError, match=words):
        app.endpoint(path)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"workers": 0}, "workers=0 is invalid"),
        ({"workers": True}, "workers=True"),
        ({"concurrency": 0}, "concurrency=0"),
        ({"concurrency": None}, "concurrency=None"),
        ({"concurrency": 1.5}, "concurrency=1.5"),
        ({"max_queue": 0}, "max_queue=0 is invalid; use an integer of at least 1"),
        ({"devices": []}, r"devices=\[\]"),
        ({"devices": "cuda:0"}, r"devices='cuda:0' is a str, not a list; write devices=\['cuda:0'\]"),
        ({"devices": [0]}, "use a list of names"),
        ({"devices": {"a"}}, "use a list of names"),
        ({"runtime": "curio"}, "runtime='curio' is unknown; use 'trio' or 'asyncio'"),
        ({"runtime": []}, "runtime="),
        ({"timeouts": 5}, r"timeouts=5 is not a policy; write timeouts=Timeouts\("),
        ({"timeouts": None}, "timeouts=None"),
        ({"retries": 3}, r"retries=3 is not a policy; write retries=Retries\("),
        ({"jobs": True}, r"jobs=True is not a policy; write jobs=Jobs\("),
        ({"batching": 8}, r"batching=8 is not a policy; write batching=Batching\("),
        ({"idempotent": 1}, "idempotent=1 is not a bool; use True or False"),
        ({"preload": 1}, "preload=1 is not a bool; use True or False"),
        ({"pool": ""}, "pool=''"),
        ({"pool": "a b"}, "pool='a b'"),
        ({"pool": 1}, "pool=1"),
        ({"name": ""}, "name=''"),
        ({"name": "a b"}, "name='a b'"),
        ({"name": 7}, "name=7"),
    ],
    ids=repr,
)
def test_options_that_mean_nothing_are_refused(app: App, options: dict[str, Any], words: str) -> None:
    """The error for a wrong option names its value and the fix, before the handler is inspected."""
    with pytest.raises(DeclarationError, match=f"endpoint .*{words}"):
        app.endpoint("/square", **options)


def test_a_negative_timeout_never_reaches_an_endpoint() -> None:
    """The policies refuse it themselves."""
    with pytest.raises(DeclarationError, match="cannot be negative"):
        Timeouts(execution=-1)


def test_the_decorator_must_be_called(app: App) -> None:
    """The error for ``@app.endpoint`` without a path says what to write."""
    bare: Callable[..., Any] = app.endpoint
    with pytest.raises(DeclarationError, match=r'write @app\.endpoint\("/square"\)'):
        bare(square)


def test_batching_and_generators_do_not_mix(app: App) -> None:
    """A stream has one caller."""
    with pytest.raises(DeclarationError, match="batching cannot be combined with `yield`"):
        declare(app, count, batching=Batching(max_size=2))


@pytest.mark.parametrize(
    ("idempotent", "declared", "fate"),
    [(True, None, "retry"), (False, None, "fail"), (False, "retry", "retry"), (True, "fail", "fail")],
)
def test_jobs_that_must_not_run_twice_fail_with_their_engine(
    app: App, idempotent: bool, declared: OnLost | None, fate: str
) -> None:
    """Unless the declaration says otherwise."""
    endpoint = declare(app, square, idempotent=idempotent, jobs=Jobs(on_lost=declared))
    assert endpoint.jobs is not None
    assert endpoint.jobs.on_lost == fate


def test_batching_takes_a_list(app: App) -> None:
    """A batching handler without a list is refused with the endpoint's name; with one it may run in slots."""
    with pytest.raises(DeclarationError, match=r"endpoint 'square': with batching"):
        declare(app, square, batching=Batching(max_size=2))
    assert declare(app, batch, "/b", batching=Batching(max_size=2), concurrency=2).mode == "thread"


def test_no_two_endpoints_on_one_path_or_with_one_name(app: App) -> None:
    """Paths and names are unique."""
    declare(app)
    with pytest.raises(DeclarationError, match="endpoint 'other': path '/square' is already used by 'square'"):
        declare(app, name="other")
    with pytest.raises(DeclarationError, match="endpoint 'square': the endpoint at '/square' already has this name"):
        declare(app, path="/other", name="square")


def test_a_class_cannot_own_the_shared_pool(app: App) -> None:
    """The pool that functions share does not belong to a single endpoint, unless the endpoint names it."""
    with pytest.raises(DeclarationError, match=r"endpoint 'default'.*another name="):
        declare(app, Model, "/default")
    assert declare(app, Model, "/default", pool="default").pool == "default"


@pytest.mark.parametrize("import_name", ["", None, 5])
def test_an_app_knows_its_module(import_name: Any) -> None:
    """``App`` takes ``__name__``."""
    with pytest.raises(DeclarationError, match=r"write App\(__name__\)"):
        App(import_name)
    assert App("shop").import_name == "shop"


@pytest.mark.parametrize("seconds", [0, -1, float("inf"), float("nan"), True, "10"])
def test_a_start_timeout_is_a_time_or_none(seconds: Any) -> None:
    """Anything else is refused, with what to write."""
    with pytest.raises(DeclarationError, match=r"start_timeout=.*None for no limit"):
        App("shop", start_timeout=seconds)
    assert App("shop").start_timeout == 600.0
    assert App("shop", start_timeout=None).start_timeout is None


def test_the_start_method_is_one_of_three() -> None:
    """``start_method`` is checked when the app is created, and the error lists the values."""
    assert [App("shop", start_method=method).start_method for method in ("auto", "fork", "fresh")][2] == "fresh"
    assert App("shop").start_method == "auto"
    with pytest.raises(DeclarationError, match=r"App: start_method='spawn' is unknown; use 'auto', 'fork' or 'fresh'"):
        App("shop", start_method="spawn")  # type: ignore[arg-type]


def test_what_is_declared_is_frozen(app: App) -> None:
    """An endpoint or a pool cannot be changed behind the engine's back."""
    endpoint = declare(app)
    with pytest.raises(dataclasses.FrozenInstanceError):
        endpoint.path = "/other"
    with pytest.raises(dataclasses.FrozenInstanceError):
        app.pools["default"].workers = 5


# ---- methods and variables in paths


def of_user(user_id: int, words: int = 12) -> int:
    return user_id * words


def test_an_endpoint_has_a_method_and_variables(app: App) -> None:
    """A variable of the path is a parameter of the handler; a path may have two methods."""
    app.endpoint("/users/{user_id}", method="GET", name="show")(of_user)
    app.endpoint("/users/{user_id}", name="change")(of_user)
    show, change = app.endpoints
    assert (show.method, change.method) == ("GET", "POST")
    assert "GET /users/{user_id}" in repr(show)
    assert [(p.name, p.source, p.required) for p in show.codec.parameters] == [
        ("user_id", "path", True),
        ("words", "query", False),
    ]
    assert [p.source for p in change.codec.parameters] == ["path", "body"]


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        ("/a/{user_id}", "/a/{other}", "match the same requests"),
        ("/a/{user_id}", "/{user_id}/b", "match the same requests"),
        ("/{user_id}/a", "/{other}/b", r"\{other\} in '/\{other\}/b' is \{user_id\} in.*name the same part"),
        ("/a/{user_id}", "/a/{user_id}", "is already used by"),
    ],
)
def test_no_two_templates_match_the_same_request(app: App, first: str, second: str, words: str) -> None:
    """Each request has one endpoint, whichever the router would have found first."""

    def handler(user_id: int = 0, other: int = 0) -> int:
        return user_id + other

    app.endpoint(first, name="first")(handler)
    with pytest.raises(DeclarationError, match=words):
        app.endpoint(second, name="second")(handler)


def test_a_more_exact_path_may_stand_beside_a_template(app: App) -> None:
    """``/users/me`` is not a user, and ``/users/me/{user_id}`` is more exact than one with two variables."""

    def handler(user_id: int = 0, other: str = "") -> int:
        return user_id

    for place, path in enumerate(("/users/{other}", "/users/me", "/users/{other}/{user_id}", "/users/me/{user_id}")):
        app.endpoint(path, name=str(place))(handler)
    assert len(app.endpoints) == 4


class Point(msgspec.Struct):
    x: float


def takes_struct(user_id: int, point: Point) -> None: ...


def takes_context(context: Context) -> None: ...


def takes_tags(tags: list[str]) -> None: ...


def takes_bytes(body: bytes) -> None: ...


def takes_uploads(files: list[Upload]) -> None: ...


@pytest.mark.parametrize(
    ("path", "handler", "options", "words"),
    [
        ("/{other}", of_user, {}, r"the path has \{other\}, but the handler has no parameter `other`"),
        ("/{user_id}", lambda user_id: None, {"method": "PUT"}, "method='PUT' is unknown; use 'POST' or 'GET'"),
        ("/{context}", takes_context, {}, r"\{context\}, but that parameter is the Context"),
        ("/{tags}", takes_tags, {}, "a path variable is one number or text"),
        ("/{point}", takes_struct, {}, "a path variable is one number or text"),
        ("/{body}", takes_bytes, {}, "bytes and files cannot come from the path"),
        ("/x", takes_bytes, {"method": "GET"}, "bytes and files cannot come from the query"),
        ("/x", takes_uploads, {"method": "GET"}, "bytes and files cannot come from the query"),
        ("/{user_id}", takes_struct, {"method": "GET"}, "a struct is a body, which a GET request does not have"),
    ],
)
def test_parameters_come_from_where_they_can(
    app: App, path: str, handler: Any, options: dict[str, Any], words: str
) -> None:
    """A variable is a parameter, and what only a body can hold comes neither from a path nor from a query."""
    with pytest.raises(DeclarationError, match=words):
        app.endpoint(path, **options)(handler)
