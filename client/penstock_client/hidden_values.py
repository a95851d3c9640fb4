"""Keys and headers that no representation shows: not in a debugger, nor in a traceback with its local variables."""

from __future__ import annotations

from collections.abc import Callable, Mapping


class HiddenKey:
    """A key, or the function that returns the current one.

    Parameters
    ----------
    given:
        Either of the two.
    """

    def __init__(self, given: str | Callable[[], str]) -> None:
        self._given = given

    @property
    def is_renewed(self) -> bool:
        """True if each request has the current one."""
        return not isinstance(self._given, str)

    def __repr__(self) -> str:
        return "<key>"

    def check(self) -> None:
        """Check a key that does not change.

        Raises
        ------
        TypeError
            If it is not text.
        ValueError
            If it cannot be sent.
        """
        if isinstance(self._given, str):
            self()

    def __call__(self) -> str:
        """Return the key.

        Raises
        ------
        TypeError
            If it is not text.
        ValueError
            If it cannot be sent.
        """
        key = self._given if isinstance(self._given, str) else self._given()
        if not isinstance(key, str):
            raise TypeError(f"key is text, or a function that returns text, and not {type(key).__name__}")
        if key and key.isascii() and key.isprintable() and " " not in key:
            return key
        del key  # which a traceback would show among the local variables
        raise ValueError("the key cannot be sent: it is empty, or has a space, a newline or another special character")


class HiddenHeaders(dict[str, str]):
    """Headers by their names; their representation has no values."""

    def __repr__(self) -> str:
        return f"<headers {', '.join(self)}>"


def hidden_key(given: str | Callable[[], str] | None) -> HiddenKey | None:
    """Return the key, hidden; None if there is none.

    Raises
    ------
    TypeError
        If it is neither text nor a function.
    """
    if given is None or isinstance(given, HiddenKey):
        return given
    if not isinstance(given, str) and not callable(given):
        kind = type(given).__name__
        del given
        raise TypeError(f"key is text, or a function that returns text, and not {kind}")
    return HiddenKey(given)


def hidden_headers(given: Mapping[str, str] | None) -> HiddenHeaders:
    """Return the headers, hidden.

    Raises
    ------
    TypeError
        If they are not a mapping.
    """
    if given is not None and not isinstance(given, Mapping):
        kind = type(given).__name__
        del given
        raise TypeError(f"headers is a dict of names and values, and not {kind}")
    return HiddenHeaders(given or {})
