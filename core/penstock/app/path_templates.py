"""Paths with variables, ``/users/{user_id}/picture``: how they are written, and which of them an app can have together.

A variable is one whole segment of the path. The adapters match paths; here it is made sure that each request has one
endpoint at most, whichever adapter looks for it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import zip_longest
from keyword import iskeyword

from penstock.app.endpoints import Endpoint
from penstock.errors import DeclarationError

_VARIABLE = re.compile(r"\{([^{}]*)\}")


def variables_of(path: str, owner: str) -> tuple[str, ...]:
    """Return the names of the variables in a path.

    Raises
    ------
    DeclarationError
        If one is not a whole segment, is not a name that a parameter can have, or occurs twice.
    """
    names: list[str] = []
    for segment in path.split("/"):
        if "{" not in segment and "}" not in segment:
            continue
        match = _VARIABLE.fullmatch(segment)
        if match is None:
            raise DeclarationError(
                f"{owner}: {segment!r} is not a variable, which is a whole segment; write /users/{{user_id}}"
            )
        name = match[1]
        if not name.isidentifier() or iskeyword(name):
            raise DeclarationError(
                f"{owner}: {segment!r} does not have the name of a parameter; write for instance "
                "{{user_id}}, and take `user_id: int`"
            )
        if name in names:
            raise DeclarationError(f"{owner}: {segment!r} occurs twice; give each variable a name of its own")
        names.append(name)
    return tuple(names)


def require_unique(endpoint: Endpoint, others: Iterable[Endpoint]) -> None:
    """Check that an endpoint shares neither its name nor its requests with another one.

    A path without variables may also be matched by a template: ``/users/me`` beside ``/users/{user_id}`` is the more
    exact one.

    Raises
    ------
    DeclarationError
        If it does; names both, and the fix.
    """
    for other in others:
        _require_own_requests(endpoint, other)
        if other.name == endpoint.name:
            raise DeclarationError(
                f"endpoint {endpoint.name!r}: the endpoint at {other.path!r} already has this name; pass name= to "
                "one of them"
            )


def _require_own_requests(endpoint: Endpoint, other: Endpoint) -> None:
    path, taken = endpoint.path, other.path
    if path == taken:
        if endpoint.method == other.method:
            raise DeclarationError(
                f"endpoint {endpoint.name!r}: path {path!r} is already used by {other.name!r}; change one"
            )
        return
    if "{" in path and "{" in taken and _overlap(path, taken):
        raise DeclarationError(
            f"endpoint {endpoint.name!r}: {path!r} and {taken!r}, the path of {other.name!r}, match the same requests; "
            "change one, or write both alike if they differ in their method"
        )
    names = _differing_names(path, taken)
    if names is not None:
        raise DeclarationError(
            f"endpoint {endpoint.name!r}: {{{names[0]}}} in {path!r} is {{{names[1]}}} in {taken!r}, the path of "
            f"{other.name!r}; name the same part of both paths alike"
        )


def _overlap(path: str, other: str) -> bool:
    """Return whether there is a request that both match, and neither is the more exact one."""
    pairs = list(zip_longest(path.split("/"), other.split("/")))
    if not all(None not in pair and (pair[0] == pair[1] or _has_variable(pair)) for pair in pairs):
        return False
    fixed_here = any("{" in there and "{" not in here for here, there in pairs)
    fixed_there = any("{" in here and "{" not in there for here, there in pairs)
    return fixed_here == fixed_there


def _has_variable(segments: Iterable[str]) -> bool:
    return any("{" in segment for segment in segments)


def _differing_names(path: str, other: str) -> tuple[str, str] | None:
    """Return the names of the first variable of two paths that are the same up to it, if they differ."""
    for here, there in zip(path.split("/"), other.split("/"), strict=False):
        if here != there:
            both = _VARIABLE.fullmatch(here), _VARIABLE.fullmatch(there)
            return (both[0][1], both[1][1]) if both[0] and both[1] else None
    return None
