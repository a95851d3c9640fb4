"""A handler's signature: the parameters filled from the body, the one that takes the context, and the result."""

from __future__ import annotations

import collections.abc
import inspect
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from penstock.context import Context
from penstock.errors import DeclarationError

NO_DEFAULT = inspect.Parameter.empty


@dataclass(frozen=True)
class Parameter:
    """One parameter that is filled from the body.

    ``default`` is ``NO_DEFAULT`` if it has none; ``default_factory`` creates one for each call, where pydantic's
    ``Field`` asks for that.
    """

    name: str
    annotation: Any
    default: Any
    keyword_only: bool
    default_factory: Callable[[], Any] | None = None

    @property
    def required(self) -> bool:
        """True if the caller must send it."""
        return self.default is NO_DEFAULT and self.default_factory is None


@dataclass(frozen=True)
class Signature:
    """A handler's signature, with its annotations resolved."""

    name: str
    parameters: tuple[Parameter, ...]
    context: str | None
    """The name of the parameter that takes the ``Context``, or None."""
    returns: Any
    """The return annotation, or ``Any`` if it is missing or cannot be resolved.

    It only describes the result, and is never a reason to refuse a handler.
    """

    @property
    def stream(self) -> Literal["sync", "async"] | None:
        """The kind of iterator that the handler is annotated to return, if it is one: such a handler streams."""
        kind = typing.get_origin(self.returns) or self.returns
        if not isinstance(kind, type):
            return None
        if issubclass(kind, collections.abc.Iterator):
            return "sync"
        return "async" if issubclass(kind, collections.abc.AsyncIterable) else None


def read_signature(
    function: Callable[..., Any], *, owner: str, namespace: Mapping[str, Any] | None = None, leading: int = 0
) -> Signature:
    """Read the signature of a handler, through decorators that use ``functools.wraps``.

    Parameters
    ----------
    function:
        The handler; a method must be bound, so that ``self`` is not a parameter.
    owner:
        The declaration to name in errors, for instance ``endpoint 'square'``.
    namespace:
        Names that annotations may use besides the module's: those of the function in which the handler is declared.
    leading:
        The number of parameters at the beginning that Penstock itself fills by position.

    Raises
    ------
    DeclarationError
        For ``*args``, ``**kwargs``, positional-only parameters, two contexts, or an annotation that cannot be resolved.
    """
    try:
        parameters = list(inspect.signature(function).parameters.values())[leading:]
    except (TypeError, ValueError) as error:
        raise DeclarationError(f"{owner}: its signature cannot be read ({error}); wrap it in a `def`") from error
    resolve = _Resolver(function, namespace or {}, owner)
    from_body: list[Parameter] = []
    contexts: list[str] = []
    for parameter in parameters:
        _require_nameable(parameter, owner)
        annotation = resolve.parameter(parameter)
        if _is_context(annotation):
            contexts.append(parameter.name)
        else:
            keyword_only = parameter.kind is parameter.KEYWORD_ONLY
            from_body.append(Parameter(parameter.name, annotation, parameter.default, keyword_only))
    if len(contexts) > 1:
        raise DeclarationError(f"{owner}: the parameters {' and '.join(contexts)} are each a Context; keep one")
    name = getattr(function, "__name__", "handler")
    return Signature(name, tuple(from_body), contexts[0] if contexts else None, resolve.returns())


def returned_type(function: Callable[..., Any], *, owner: str, namespace: Mapping[str, Any] | None = None) -> Any:
    """Return the return annotation of a function, or ``Any`` if it is missing or cannot be resolved."""
    return _Resolver(function, namespace or {}, owner).returns()


def _require_nameable(parameter: inspect.Parameter, owner: str) -> None:
    if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
        raise DeclarationError(
            f"{owner}: `{parameter}` accepts fields without naming them; name each parameter, or take one dict"
        )
    if parameter.kind is parameter.POSITIONAL_ONLY:
        raise DeclarationError(
            f"{owner}: the parameter `{parameter.name}` is positional-only, but the fields of a body are passed by "
            "name; remove the `/`"
        )


def _is_context(annotation: Any) -> bool:
    if annotation is Context:
        return True
    if typing.get_origin(annotation) not in (typing.Union, types.UnionType):
        return False
    return set(typing.get_args(annotation)) == {Context, type(None)}


class _Resolver:
    """A resolver of annotations into types, one at a time, so that an error can name the one that failed."""

    def __init__(self, function: Callable[..., Any], namespace: Mapping[str, Any], owner: str) -> None:
        unwrapped = inspect.unwrap(function)
        self._globals: dict[str, Any] = getattr(unwrapped, "__globals__", {})
        self._locals = dict(namespace)
        self._owner = owner
        self._returns = getattr(unwrapped, "__annotations__", {}).get("return", Any)

    def parameter(self, parameter: inspect.Parameter) -> Any:
        if parameter.annotation is parameter.empty:
            return Any
        try:
            return self._resolve(parameter.annotation)
        except Exception as error:  # an annotation is an arbitrary expression, and may raise anything
            raise DeclarationError(
                f"{self._owner}: the annotation {parameter.annotation!r} of the parameter `{parameter.name}` cannot be "
                f"resolved ({error}); define or import the type at the top of the module, not under TYPE_CHECKING"
            ) from error

    def returns(self) -> Any:
        try:
            return self._resolve(self._returns)
        except Exception:  # it only describes the result: see Signature
            return Any

    def _resolve(self, annotation: Any) -> Any:
        def carrier() -> None: ...

        carrier.__annotations__ = {"it": annotation}
        resolved = typing.get_type_hints(carrier, self._globals, self._locals, include_extras=True)["it"]
        # To a Python reader `object` means "anything"; to msgspec it would be a custom type.
        return Any if resolved is object else resolved
