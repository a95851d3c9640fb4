"""Keys and headers that no representation shows: not in a debugger, nor in a traceback with its local variables."""

from __future__ import annotations

from collections.abc import Callable


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
        ValueError
            If it cannot be sent.
        """
        if isinstance(self._given, str):
            self()

    def __call__(self) -> str:
        """Return the key.

        Raises
        ------
        ValueError
            If it cannot be sent.
        """
        key = self._given if isinstance(self._given, str) else self._given()
        if key and key.isascii() and key.isprintable() and " " not in key:
            return key
        del key  # which a traceback would show among the local variables
        raise ValueError("the key cannot be sent: it is empty, or has a space, a newline or another special character")


class HiddenHeaders(dict[str, str]):
    """Headers by their names; their representation has no values."""

    def __repr__(self) -> str:
        return f"<headers {', '.join(self)}>"


def hidden_key(given: str | Callable[[], str] | None) -> HiddenKey | None:
    """Return the key, hidden; None if there is none."""
    return given if given is None or isinstance(given, HiddenKey) else HiddenKey(given)
