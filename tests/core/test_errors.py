"""The errors, as the program that calls an engine sees them."""

from __future__ import annotations

import traceback

from penstock import HandlerError


def test_a_handlers_error_shows_what_was_raised_in_the_worker() -> None:
    """Its type and its traceback follow the error's own, and need no look into a log."""
    remote = 'Traceback (most recent call last):\n  File "model.py", line 3, in predict\nValueError: broken\n'
    error = HandlerError("broken", exception_type="ValueError", traceback=remote)
    shown = "".join(traceback.format_exception(error))
    assert str(error) == "broken"
    assert shown.endswith(f"HandlerError: broken\nThe handler raised ValueError in its worker:\n{remote}")


def test_an_error_without_a_traceback_has_no_note() -> None:
    """A note says something or is not there."""
    assert not hasattr(HandlerError("broken"), "__notes__")
