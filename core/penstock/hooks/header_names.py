"""Names of request headers that a policy looks for, prepared once: most requests have none of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator


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

    __slots__ = ("_names", "encoded")

    def __init__(self, names: Iterable[str]) -> None:
        self._names = tuple(name.lower() for name in names)
        self.encoded = frozenset(name.encode("latin-1") for name in self._names)

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names, in lower case."""
        return iter(self._names)

    def __repr__(self) -> str:
        return f"HeaderNames({', '.join(self._names)})"
