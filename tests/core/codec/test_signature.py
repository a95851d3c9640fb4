"""Signatures: the parameters and annotations that a handler may have, and those that are refused."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
import pydantic
import pytest
from numpy.typing import NDArray

from penstock.context import Context
from penstock.errors import DeclarationError
from tests.core.codec.sample_types import Point, codec, misfit, run, square

# ---- contexts


def test_a_context_is_injected_wherever_it_stands() -> None:
    """A parameter annotated ``Context`` (or ``Context | None``) is not a field, at any position."""
    context = Context(job_id="j")

    def first(context: Context, a: int) -> Any:
        return context, a

    def last(a: int, *, where: Context | None = None) -> Any:
        return where, a

    def alone(context: Context) -> Any:
        return context, 1

    def whole(context: Context, p: Point) -> Any:
        return context, int(p.x)

    assert run(first, b'{"a": 1}', context) == (context, 1)
    assert run(last, b'{"a": 1}', context) == (context, 1)
    assert run(alone, b"", context) == (context, 1)
    assert run(whole, b'{"x": 1}', context) == (context, 1)
    assert codec(last).context_parameter == "where"
    assert codec(square).context_parameter is None
    assert misfit(first, b'{"a": 1, "context": 1}').param == "context"


# ---- declarations


def test_local_types_are_resolved_if_their_names_are_passed() -> None:
    """Postponed annotations may use the names of the function that declares the handler."""

    class Local(msgspec.Struct):
        a: int

    def handler(x: Local) -> Any:
        return x

    its = codec(handler, namespace=locals())
    assert its.decode(b'{"a": 1}') == Local(1)
    with pytest.raises(
        DeclarationError, match=r"endpoint 'it': the annotation 'Local' of the parameter `x`.*TYPE_CHECK"
    ):
        codec(handler)


def test_decorated_functions_keep_their_signature() -> None:
    """``functools.wraps`` leads to the wrapped signature, and to the names of its module."""

    @functools.wraps(square)
    def wrapped(*args: Any, **kwargs: Any) -> float:
        return square(*args, **kwargs) + 1

    assert run(wrapped, b'{"input": 2}') == 5.0


def _positional(a: int, /) -> None: ...


def _stars(*args: int) -> None: ...


def _keywords(**kwargs: int) -> None: ...


def _two_contexts(a: Context, b: Context) -> None: ...


def _array(a: NDArray[np.float64]) -> None: ...


def _nested_array(a: dict[str, list[np.float32]]) -> None: ...


def _complex(a: complex) -> None: ...


def _union(a: list[int] | set[int]) -> None: ...


def _undefined(a: Missing) -> None: ...  # noqa: F821 - not defined, on purpose


def _no_type(a: 5) -> None: ...


class Unfinished(pydantic.BaseModel):
    part: Missing  # noqa: F821 - not defined, on purpose


def _unfinished(a: Unfinished) -> None: ...


def _iterator(a: Iterator[int]) -> None: ...


@pytest.mark.parametrize(
    ("handler", "words"),
    [
        (_positional, r"`a` is positional-only.*remove the `/`"),
        (_stars, r"\*args.*name each parameter"),
        (_keywords, r"\*\*kwargs.*name each parameter"),
        (_two_contexts, "a and b are each a Context; keep one"),
        (_array, r"parameter `a`: numpy.ndarray cannot be decoded from JSON; use Annotated\[numpy.ndarray, Tensor"),
        (_nested_array, r"parameter `a`: numpy.float32 cannot be decoded from JSON"),
        (_complex, r"complex cannot be decoded from JSON; use tuple\[float, float\]"),
        (_union, "parameter `a`.*cannot be used"),
        (_undefined, "'Missing' of the parameter `a` cannot be resolved"),
        (_no_type, "parameter `a`"),
        (_unfinished, "the model Unfinished cannot be used"),
        (_iterator, "Iterator cannot be decoded from JSON"),
    ],
)
def test_a_signature_that_cannot_be_served_is_refused(handler: Any, words: str) -> None:
    """The refusal names the endpoint, the parameter and the fix."""
    with pytest.raises(DeclarationError, match=f"endpoint 'it'.*{words}"):
        codec(handler)


def test_the_return_annotation_only_describes() -> None:
    """A return annotation is never a reason to refuse a handler, and results are not checked against it."""

    def handler() -> Missing:  # noqa: F821 - not defined, on purpose
        return "x"

    def other() -> NDArray[np.float64]: ...

    assert codec(handler).output_schema() == {}
    assert codec(other).output_schema() == {}
    assert codec(handler).encode("x").body == b'"x"'
