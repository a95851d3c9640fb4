"""Declarations of generation loops, good and bad."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from penstock import Context, Done, Event
from penstock.app import App, Endpoint
from penstock.app.manifest import Manifest
from penstock.engine.specs import lane_specs
from penstock.errors import DeclarationError
from penstock.hooks.registry import Registry
from penstock.policies import Batching


class Order(msgspec.Struct):
    prompt: str
    n: int = 1


class Llm:
    def setup(self, device: str) -> None: ...

    def admit(self, slot: int, prompt: str, max_tokens: int = 64) -> None: ...

    def step(self, slots: list[int]) -> dict[int, str | Done]:
        return {}

    def release(self, slot: int) -> None: ...


class WithPredict(Llm):
    def predict(self, prompt: str) -> str:
        return prompt


@pytest.fixture
def app() -> App:
    return App("shop")


def declare(app: App, handler: Any = Llm, **options: Any) -> Endpoint:
    app.endpoint("/chat", **{"max_slots": 4, **options})(handler)
    return app.endpoints[-1]


def made(**methods: Callable[..., Any]) -> type:
    """Return a loop with other methods; None leaves one out."""
    names = {name: vars(Llm)[name] for name in ("admit", "step", "release")} | methods
    return type("Made", (), {name: method for name, method in names.items() if method is not None})


def test_a_loop_is_a_stream_with_slots(app: App) -> None:
    """It has a mode of its own, a pool of its own, and as many attempts at a time as slots."""
    endpoint = declare(app, max_slots=16, workers=2)
    assert (endpoint.mode, endpoint.is_stream, endpoint.is_class, endpoint.is_async) == ("stepped", True, True, False)
    assert (endpoint.max_slots, endpoint.concurrency, app.pools["chat"].capacity) == (16, 16, 16)
    assert app.pools["chat"].workers == 2
    assert repr(endpoint) == "<Endpoint chat POST /chat stepped x 16, stream, pool chat>"


def test_one_slot_is_still_a_loop(app: App) -> None:
    """It is not taken for an inline handler."""
    assert repr(declare(app, max_slots=1)) == "<Endpoint chat POST /chat stepped x 1, stream, pool chat>"


@pytest.mark.parametrize("name", ["admit", "step", "release"])
def test_each_method_may_be_asynchronous(app: App, name: str) -> None:
    """The mode does not depend on that."""

    async def method(self: object, slot: int) -> dict[int, str]:
        return {}

    endpoint = declare(app, made(**{name: method}))
    assert (endpoint.mode, endpoint.is_async) == ("stepped", True)


def test_other_classes_may_have_such_methods(app: App) -> None:
    """A class with ``predict`` is what it always was."""
    app.endpoint("/chat")(WithPredict)
    assert (app.endpoints[-1].mode, app.endpoints[-1].max_slots) == ("inline", None)


def test_the_parameters_after_the_slot_are_the_body(app: App) -> None:
    """As those of ``predict``: fields, or one whole struct; a Context is injected, path variables are read."""
    assert [each.name for each in declare(app).codec.parameters] == ["prompt", "max_tokens"]

    def whole(self: object, slot: int, order: Order, context: Context) -> None: ...

    codec = declare(App("two"), made(admit=whole)).codec
    assert (codec.is_whole, codec.context_parameter) == (True, "context")
    app.endpoint("/users/{user}/chat", max_slots=2)(made(admit=lambda self, slot, user, prompt: None))
    assert [(each.name, each.source) for each in app.endpoints[-1].codec.parameters] == [
        ("user", "path"),
        ("prompt", "body"),
    ]


def returning(annotation: Any) -> Callable[..., Any]:
    def step(self: object, slots: list[int]) -> dict[int, str]:
        return {}

    step.__annotations__["return"] = annotation
    return step


@pytest.mark.parametrize(
    ("annotation", "schema"),
    [
        (dict[int, str | Done], {"type": "string"}),
        (dict[int, str], {"type": "string"}),
        (dict[int, Order | Done | ValueError | None], {"title": "Order"}),
        (dict[int, Event[int] | Done], {"type": "integer"}),
        ("dict[int, float | Done]", {"type": "number"}),
        (dict[int, Done], {}),
        (dict, {}),
        (list[int], {}),
        ("dict[int, Missing]", {}),
    ],
    ids=str,
)
def test_the_type_of_a_chunk_is_that_of_the_step(app: App, annotation: Any, schema: dict[str, Any]) -> None:
    """Without what ends a slot. An annotation that says nothing allows any chunk."""
    found = declare(app, made(step=returning(annotation))).codec.output_schema()
    assert schema.items() <= found.items()
    assert bool(schema) == bool(found)


def test_chunks_are_checked_against_it(app: App) -> None:
    """As those of a generator."""
    check = declare(app).codec.chunk_check()
    assert check is not None
    assert check(b'"token"') is None
    assert check(b"7") is not None


def test_it_is_never_sent_ahead_and_always_stopped(app: App) -> None:
    """To the scheduler it is a lane whose attempts run side by side, and whose worker is killed if they do not stop."""
    declare(app, max_slots=8)
    (spec,) = lane_specs(app, Registry([]))
    assert (spec.units, spec.is_stream, spec.is_interruptible, spec.runs_in_turn) == (1, True, True, False)


def test_the_workers_have_as_many_slots_as_the_engine(app: App) -> None:
    """An engine and a worker with different numbers would disagree about who waits."""
    declare(app)
    assert Manifest.of(app).declared.endpoints["chat"]["max_slots"] == "4"


@pytest.mark.parametrize(
    ("handler", "options", "words"),
    [
        (Llm, {"max_slots": None}, "Llm has admit() and step(), but there is no max_slots="),
        (Llm, {"max_slots": 0}, "max_slots=0 is invalid; use an integer of at least 1"),
        (Llm, {"max_slots": True}, "max_slots=True is invalid"),
        (Llm, {"concurrency": 4}, "concurrency= cannot be combined with max_slots=...remove concurrency="),
        (Llm, {"batching": Batching(max_size=2)}, "batching= cannot be combined with max_slots=...remove batching="),
        (lambda x: x, {}, "max_slots= is for a class with admit(), step() and release(); for other handlers"),
        (WithPredict, {}, "WithPredict has predict(); remove max_slots="),
        (made(admit=None), {}, "the class Made has no admit(); define `def admit(self, slot: int,"),
        (made(step=None), {}, "the class Made has no step(); define `def step(self, slots: list[int])`"),
        (made(release=None), {}, "the class Made has no release(); define `def release(self, slot: int)`"),
        (made(admit=lambda self, prompt: None), {}, "write `def admit(self, slot: int, prompt)`"),
        (made(admit=lambda self: None), {}, "write `def admit(self, slot: int)`"),
        (made(admit=lambda prompt: None), {}, "has no self"),
        (made(admit=lambda self, slot, *rest: None), {}, "accepts fields without naming them"),
        (made(step=lambda self: {}), {}, "Made.step is passed the list of slots and nothing else"),
        (
            made(step=lambda self, slots, more: {}),
            {},
            "...more...; write `def step(self, slots: list[int])`",
        ),
        (made(release=lambda self: None), {}, "Made.release is passed the slot and nothing else"),
        (made(step=lambda self, slots: (yield)), {}, "Made.step yields, so its body would never run; use return"),
        (made(setup=lambda self, a, b: None), {}, "Made.setup requires a, b"),
        (made(__init__=lambda self, x: None), {}, "requires x, but workers call it without arguments"),
        (Llm, {"devices": ["cpu"], "preload": "yes"}, "preload='yes' is not a bool"),
    ],
)
def test_what_is_not_a_loop_is_refused(app: App, handler: Any, options: dict[str, Any], words: str) -> None:
    """The message names the endpoint and the fix."""
    with pytest.raises(DeclarationError, match=r"^endpoint 'chat': ") as raised:
        declare(app, handler, **options)
    assert all(part in str(raised.value) for part in words.split("..."))
    assert app.endpoints == []


@pytest.mark.parametrize("is_first", [True, False])
def test_a_loop_shares_its_pool_with_no_endpoint(app: App, is_first: bool) -> None:
    """Nothing else would run between its steps."""

    def square(x: float) -> float:
        return x * x

    both: list[tuple[Any, dict[str, Any]]] = [(Llm, {"max_slots": 4}), (square, {})]
    (first, options), (second, more) = both if is_first else reversed(both)
    app.endpoint("/first", pool="gpu", **options)(first)
    loop = "first" if is_first else "second"
    words = f"endpoint '{loop}': a generation loop needs a pool of its own, but pool 'gpu' has .* as well; give one"
    with pytest.raises(DeclarationError, match=words):
        app.endpoint("/second", pool="gpu", **more)(second)


def test_done_is_small_and_frozen() -> None:
    """And its text is what was written."""
    assert repr([Done(), Done("x")]) == "[Done(), Done('x')]"
    assert Done("x") == Done("x") != Done()
    with pytest.raises(AttributeError):
        Done().chunk = "y"  # type: ignore[misc]
