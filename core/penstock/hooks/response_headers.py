"""The response headers that policies add to a submission, checked as they are added."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, Final, Self, SupportsIndex

from penstock.response import SERVER_HEADERS, header_mistake, is_header_value

_MOST_NAMES: Final = 256
_names: dict[str, str] = {}  # valid names as policies write them, in lower case: the same few for each request


class ResponseHeaders(list[tuple[str, str]]):
    """A list of pairs of a lower-case name and a value, to which only valid headers can be added.

    The mistake is found in the policy that makes it, so its plug-in can be named. A name with capitals is converted.

    Raises
    ------
    TypeError
        If something other than a pair of strings is added.
    ValueError
        If the name or the value is not valid, or if only the server may set that header.
    """

    __slots__ = ()

    def append(self, header: tuple[str, str], /) -> None:
        """Add one header."""
        # The usual case, written out: a policy adds the same names to each response.
        try:
            name, value = header
            known = _names[name]
            if is_header_value(value) and type(header) is tuple:
                list.append(self, (known, value))
                return
        except (KeyError, TypeError, ValueError):
            pass  # it is a new name, or a mistake
        list.append(self, checked_header(header))

    def lines(self) -> str:
        """Return the lines of a response's head. Later headers replace earlier ones of the same name."""
        headers = dict(self)
        return "".join(map("{}: {}\r\n".format, headers.keys(), headers.values()))

    def extend(self, headers: Iterable[tuple[str, str]], /) -> None:
        """Add several headers."""
        super().extend(map(checked_header, headers))

    def insert(self, index: SupportsIndex, header: tuple[str, str], /) -> None:
        """Add one header at a position."""
        super().insert(index, checked_header(header))

    def __iadd__(self, headers: Iterable[tuple[str, str]], /) -> Self:  # type: ignore[override,misc] # a list's takes any iterable too
        self.extend(headers)
        return self

    def __setitem__(self, index: Any, value: Any, /) -> None:
        checked = [*map(checked_header, value)] if isinstance(index, slice) else checked_header(value)
        super().__setitem__(index, checked)


def checked_headers(headers: Iterable[Any]) -> Sequence[tuple[str, str]]:
    """Return headers with their names in lower case; raise like ``ResponseHeaders`` if one cannot be added.

    A tuple is checked once, and remembered: most responses get the same few.
    """
    return _remembered(headers) if type(headers) is tuple else [checked_header(header) for header in headers]


def checked_header(header: Any) -> tuple[str, str]:
    """Return a header with its name in lower case; raise like ``ResponseHeaders`` if it cannot be added."""
    if not isinstance(header, tuple) or len(header) != 2:
        raise TypeError(f"response_headers takes pairs of a name and a value, not {header!r}")
    name, value = header
    mistake = header_mistake(name, value)
    if mistake:
        raise ValueError(mistake)
    lower = name.lower()
    if lower in SERVER_HEADERS:
        raise ValueError(f"only the server may set the response header {lower}")
    if type(name) is str and len(_names) < _MOST_NAMES:
        _names[name] = lower
    return lower, value


@lru_cache(maxsize=256)
def _remembered(headers: tuple[Any, ...]) -> Sequence[tuple[str, str]]:
    return tuple(map(checked_header, headers))
