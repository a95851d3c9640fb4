"""What a handler's signature says: which parameters come from the body, which takes the context, what is returned."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from penstock.context import Context
from penstock.errors import DeclarationError

NO_DEFAULT = inspect.Parameter.empty


@dataclass(frozen=True)
class Parameter:
    """One parameter that is filled from the body. ``default`` is ``NO_DEFAULT`` where there is none."""

    name: str
    annotation: Any
    default: Any
    keyword_only: bool

    @property
    def required(self) -> bool:
        """Whether the caller must send it."""
        return self.default is NO_DEFAULT


@dataclass(frozen=True)
class Signature:
    """A handler's signature, annotations resolved.

    ``context`` is the name of the parameter that takes the ``Context``. ``returns`` is ``Any`` where the handler does
    not say, or says what cannot be resolved: it only describes, and is never a reason to refuse a handler.
    """

    name: str
    parameters: tuple[Parameter, ...]
    context: str | None
    returns: Any


def read_signature(
    function: Callable[..., Any], *, owner: str, namespace: Mapping[str, Any] | None = None
) -> Signature:
    """Read the signature of a handler, through decorators that use ``functools.wraps``.

    Parameters
    ----------
    function:
        The handler; a method must be bound, so that ``self`` is no parameter.
    owner:
        Who is to blame in an error, for instance ``endpoint 'square'``.
    namespace:
        Names that annotations may use besides the module's: those of the function that the handler is declared in.

    Raises
    ------
    DeclarationError
        For ``*args``, ``**kwargs``, positional-only parameters, two contexts, or an annotation without meaning here.
    """
    try:
        parameters = inspect.signature(function).parameters.values()
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
        raise DeclarationError(f"{owner}: the parameters {' and '.join(contexts)} are both a Context; keep one")
    name = getattr(function, "__name__", "handler")
    return Signature(name, tuple(from_body), contexts[0] if contexts else None, resolve.returns())


def _require_nameable(parameter: inspect.Parameter, owner: str) -> None:
    if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
        raise DeclarationError(
            f"{owner}: `{parameter}` takes fields that nobody has named; name each parameter, or take one dict"
        )
    if parameter.kind is parameter.POSITIONAL_ONLY:
        raise DeclarationError(
            f"{owner}: the parameter `{parameter.name}` is positional-only, and the fields of a body go by name; "
            "remove the `/`"
        )


def _is_context(annotation: Any) -> bool:
    if annotation is Context:
        return True
    if typing.get_origin(annotation) not in (typing.Union, types.UnionType):
        return False
    return set(typing.get_args(annotation)) == {Context, type(None)}


class _Resolver:
    """Turns annotations into types, one at a time, so that one which fails can be named."""

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
        except Exception as error:  # an annotation is any expression of the user's, and may raise anything
            raise DeclarationError(
                f"{self._owner}: the annotation {parameter.annotation!r} of the parameter `{parameter.name}` cannot be "
                f"resolved ({error}); define or import the type at the top of the module, not under TYPE_CHECKING"
            ) from error

    def returns(self) -> Any:
        try:
            return self._resolve(self._returns)
        except Exception:  # it describes and does not bind: see Signature
            return Any

    def _resolve(self, annotation: Any) -> Any:
        def carrier() -> None: ...

        carrier.__annotations__ = {"it": annotation}
        resolved = typing.get_type_hints(carrier, self._globals, self._locals, include_extras=True)["it"]
        # `object` says "anything" to a Python reader; to msgspec it would be a type of its own.
        return Any if resolved is object else resolved
