"""Names of request headers that a policy looks for, prepared once: most requests have none of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping


class HeaderNames:
    """A few header names, for ``Submission.has_any_header``.

    Parameters
    ----------
    names:
        The names, in any case.

    Attributes
    ----------
    encoded:
        The names as they arrive over HTTP, in lower case.
    """

    __slots__ = ("_by_encoded", "_names", "encoded")

    def __init__(self, names: Iterable[str]) -> None:
        self._names = tuple(name.lower() for name in names)
        self._by_encoded = {name.encode("latin-1"): name for name in self._names}
        self.encoded = frozenset(self._by_encoded)

    def among(self, received: Mapping[bytes, bytes]) -> list[str]:
        """Return those of the names that these headers have."""
        return [self._by_encoded[name] for name in self.encoded.intersection(received)]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names, in lower case."""
        return iter(self._names)

    def __repr__(self) -> str:
        return f"HeaderNames({', '.join(self._names)})"
