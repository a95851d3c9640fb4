"""Two processes compare their manifests before one runs the other's jobs."""

from __future__ import annotations

import enum
import json
import os
import subprocess
import sys
import textwrap
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import pydantic
import pytest

from penstock.app import App
from penstock.app.loader import load
from penstock.app.manifest import DisagreementError, Manifest
from penstock.context import Context
from penstock.policies import Backoff, Batching, Retries, RetryBudget, Timeouts
from penstock.wire import Load, LoadFailed


def declared(handler: Callable[..., Any], path: str = "/f", **options: Any) -> Manifest:
    app = App(__name__)
    app.endpoint(path, **options)(handler)
    return Manifest.of(app)


def f(x: float = 1.0) -> float:
    return x


PLAIN = declared(f)


# ---- what is the same

FROM_SETS = """
    import enum, typing
    from dataclasses import dataclass
    import msgspec, pydantic
    from penstock import App, Retries

    class Size(enum.Enum):
        SMALL = "s"
        LARGE = "l"

    @dataclass
    class Item:
        kind: typing.Literal[tuple({"a", "b", "c", "d"})]
        tags: frozenset = frozenset({"u", "v", "w", "x"})
        parent: "Item | None" = None

    class Left(msgspec.Struct, tag=True):
        n: int

    class Right(msgspec.Struct, tag=True):
        n: int

    class Document(pydantic.BaseModel):
        words: set[str] = {"p", "q", "r", "s"}
        left: int | str | None = None

    app = App(__name__)
    either = typing.Union[tuple({int, str, bool, float, bytes})]
    errors = tuple({KeyError, ValueError, OSError, TypeError})

    def item(item: Item, size: Size) -> either: ...
    def tree(side: Left | Right, set_of: set[str] = {"h", "i", "j", "k"}) -> Item: ...
    def document(document: Document) -> Document: ...

    for handler in {item, tree, document}:
        app.endpoint(f"/{handler.__name__}", retries=Retries(on=errors))(handler)
"""
PRINTED = """
    if __name__ == "__main__":
        from penstock.app.manifest import Manifest
        print(Manifest.of(app).digest)
"""


def test_the_digest_is_the_same_in_every_process(tmp_path: Path) -> None:
    """Whatever the hash seed: sets give the order of the endpoints, of alternatives, of defaults and of exceptions."""
    program = tmp_path / "program.py"
    program.write_text(textwrap.dedent(FROM_SETS) + textwrap.dedent(PRINTED))
    digests = set()
    for seed in ("1", "2", "3"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        digests.add(subprocess.check_output([sys.executable, program], env=environment, text=True).strip())
    (digest,) = digests
    # Workers import the same file under another name than the program's: that of a script, or that of `python -m`.
    for target in (f"script:{program}", str(program)):
        assert len(load(Load(target, list(sys.path), list(sys.argv), digest)).endpoints) == 3


def test_what_only_the_engine_decides_may_differ() -> None:
    """The number of workers may depend on the free memory, and the devices on who sees them."""
    first, second = declared(f, workers=1, devices=["cpu"]), declared(f, workers=2, devices=["cuda:0", "cuda:1"])
    assert first.digest == second.digest


def test_what_is_written_for_people_may_differ() -> None:
    """A description and a title change nothing about what is accepted."""
    texts = (msgspec.Meta(description=text, title=text, examples=[text]) for text in ("one", "another"))
    first, second = (declared(with_signature(Annotated[int, text], NO_DEFAULT, None)) for text in texts)
    assert first.digest == second.digest


class Unruly(pydantic.BaseModel):
    """Its default has no JSON, and would warn."""

    model_config = {"arbitrary_types_allowed": True}
    x: object = object()


class Wordless(pydantic.BaseModel):
    x: int

    @classmethod
    def __get_pydantic_json_schema__(cls, *_: Any) -> Any:
        raise RuntimeError("no schema today")


def unruly(body: Unruly) -> None: ...


def wordless(body: Wordless) -> None: ...


@pytest.mark.parametrize("handler", [unruly, wordless])
def test_a_type_without_a_schema_does_no_harm(handler: Callable[..., Any]) -> None:
    """No exception, no warning, and no address in memory in the text."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        manifest = declared(handler)
    assert "0x" not in json.dumps(manifest.declared.endpoints)


# ---- what differs


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclass
class Node:
    value: int
    next: Node | None = None


@dataclass
class Knot:
    value: str
    next: Knot | None = None


class Model:
    def predict(self, x: float = 1.0) -> float:
        return x


class AsyncModel:
    async def predict(self, x: float = 1.0) -> float:
        return x


NO_DEFAULT: tuple[Any, ...] = ()
SIGNATURES: dict[str, tuple[Any, tuple[Any, ...], Any]] = {
    "required": (float, NO_DEFAULT, float),
    "another default": (float, (2.0,), float),
    "another type": (int, (1,), float),
    "another result": (float, (1.0,), int),
    "bytes": (bytes, NO_DEFAULT, float),
    "anything": (Any, (1.0,), float),
    "a minimum": (Annotated[float, msgspec.Meta(ge=0)], (1.0,), float),
    "a literal": (Literal["a", "b"], ("a",), float),
    "another literal": (Literal["a", "c"], ("a",), float),
    "an enum": (Colour, NO_DEFAULT, float),
    "recursive": (Node, NO_DEFAULT, float),
    "recursive too": (Knot, NO_DEFAULT, float),
    "a tuple": (tuple[int, str], NO_DEFAULT, float),
    "its mirror image": (tuple[str, int], NO_DEFAULT, float),
    "a mapping": (dict[str, int], NO_DEFAULT, float),
    "a mapping to lists": (dict[str, list[int]], NO_DEFAULT, float),
}


def with_signature(annotation: Any, defaults: tuple[Any, ...], returns: Any) -> Callable[..., Any]:
    def f(x): ...  # type: ignore[no-untyped-def]

    f.__annotations__ = {"x": annotation, "return": returns}
    f.__defaults__ = defaults
    f.__qualname__ = "f"
    return f


def with_kinds() -> dict[str, Callable[..., Any]]:
    async def awaited(x: float = 1.0) -> float: ...
    async def streamed(x: float = 1.0) -> AsyncIterator[float]:
        yield x

    def yielded(x: float = 1.0) -> Iterator[float]:
        yield x

    def renamed(y: float = 1.0) -> float: ...
    def informed(x: float = 1.0, *, context: Context) -> float: ...

    functions = (awaited, streamed, yielded, renamed, informed)
    for function in functions:
        function.__qualname__ = "f"
    return {function.__name__: function for function in functions}


def with_policies() -> dict[str, Manifest]:
    """Return a manifest for each option and for each field of each policy."""
    budget, backoff = RetryBudget(floor=3), Backoff(cap=3.0)
    options: dict[str, dict[str, Any]] = {
        f"timeouts.{name}": {"timeouts": Timeouts(**{name: 7.0})}
        for name in ("queue", "execution", "total", "first_chunk", "idle", "grace")
    }
    for retries in (Retries(max_attempts=3), Retries(on=OSError), Retries(backoff=None), Retries(backoff=backoff)):
        options[str(retries)] = {"retries": retries}
    for number in (None, budget):
        options[f"budget {number}"] = {"retries": Retries(budget=number)}
    options |= {
        "max_queue": {"max_queue": 7},
        "idempotent": {"idempotent": False},
        "concurrency": {"concurrency": 7},
        "pool": {"pool": "p"},
        "runtime": {"runtime": "asyncio", "pool": "default"},
        "path": {"path": "/g", "name": "f"},
    }
    return {name: declared(f, **{"path": "/f", **more}) for name, more in options.items()}


def batches(x: list[float]) -> list[float]:
    return x


def test_everything_that_is_declared_counts() -> None:
    """No two of these agree: names, types, defaults, results, kinds, options, and each field of each policy."""
    handlers = {name: with_signature(*signature) for name, signature in SIGNATURES.items()}
    handlers |= with_kinds() | {"class": Model, "async class": AsyncModel}
    manifests = {name: declared(handler, pool="default") for name, handler in handlers.items()} | with_policies()
    for batching in (Batching(max_size=2), Batching(max_size=3), Batching(max_size=2, max_wait=1.0)):
        manifests[str(batching)] = declared(batches, batching=batching)
    manifests["plain"] = PLAIN
    by_digest: dict[str, list[str]] = {}
    for name, manifest in manifests.items():
        by_digest.setdefault(manifest.digest, []).append(name)
    assert [names for names in by_digest.values() if len(names) > 1] == []


def test_another_handler_counts() -> None:
    """Handlers taken from a set: the names of the endpoints agree, and so do the types, but not the models."""

    def g(x: float = 1.0) -> float: ...

    assert declared(g).digest != PLAIN.digest


# ---- what is said about it


def reason(theirs: Manifest, ours: Manifest = PLAIN) -> list[str]:
    with pytest.raises(DisagreementError) as caught:
        theirs.require(ours.digest)
    return ours.reason_of(LoadFailed("a traceback", caught.value.declared)).splitlines()


def test_each_difference_is_a_line() -> None:
    """It names the endpoint, what it is about, and both values; the last line has the advice."""
    integer = with_signature(int, (1,), float)
    *differences, advice = reason(declared(integer, timeouts=Timeouts(total=5.0)))
    assert differences == [
        "endpoint 'f': input.x default is 1.0 for the engine, 1 in its workers",
        'endpoint \'f\': input.x type is "number" for the engine, "integer" in its workers',
        "endpoint 'f': timeouts.total is null for the engine, 5.0 in its workers",
    ]
    assert "reload the server" in advice


def test_the_list_is_bounded() -> None:
    """A hundred missing endpoints give twenty lines, and a long value is cut."""
    app = App(__name__)
    for number in range(100):
        app.endpoint(f"/{number}")(f)
    lines = reason(PLAIN, Manifest.of(app))
    assert (len(lines), lines[20]) == (22, "... and 81 more")

    def g(x: str = "y" * 100_000) -> float: ...

    assert max(len(line) for line in reason(declared(g))) < 600


def test_an_exception_keeps_its_traceback() -> None:
    """An import that fails in another way has nothing to compare."""
    assert PLAIN.reason_of(LoadFailed("a traceback")) == "a traceback"
