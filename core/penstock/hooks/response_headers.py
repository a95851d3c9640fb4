"""The response headers that policies add to a submission, checked as they are added."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Self, SupportsIndex

from penstock.response import SERVER_HEADERS, header_mistake


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
        super().append(_checked(header))

    def extend(self, headers: Iterable[tuple[str, str]], /) -> None:
        """Add several headers."""
        super().extend(map(_checked, headers))

    def insert(self, index: SupportsIndex, header: tuple[str, str], /) -> None:
        """Add one header at a position."""
        super().insert(index, _checked(header))

    def __iadd__(self, headers: Iterable[tuple[str, str]], /) -> Self:  # type: ignore[override,misc] # a list's takes any iterable too
        self.extend(headers)
        return self

    def __setitem__(self, index: Any, value: Any, /) -> None:
        super().__setitem__(index, [_checked(one) for one in value] if isinstance(index, slice) else _checked(value))


def _checked(header: Any) -> tuple[str, str]:
    if not isinstance(header, tuple) or len(header) != 2:
        raise TypeError(f"response_headers takes pairs of a name and a value, not {header!r}")
    mistake = header_mistake(*header)
    if mistake:
        raise ValueError(mistake)
    name = header[0].lower()
    if name in SERVER_HEADERS:
        raise ValueError(f"only the server may set the response header {name}")
    return name, header[1]
