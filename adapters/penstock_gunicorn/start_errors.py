"""Errors of what a server needs before it can start: addresses, certificates, files."""

from __future__ import annotations


class StartError(Exception):
    """The server cannot start as it was asked to. The message names the cause and the fix.

    Parameters
    ----------
    message:
        The cause and the fix, in one line.
    event:
        The name of the event in the log.
    traceback:
        The frames of the operator's code, or "".
    """

    def __init__(self, message: str, *, event: str, traceback: str = "") -> None:
        super().__init__(message)
        self.event = event
        self.traceback = traceback


def cannot_listen(address: object, error: OSError | str, advice: str = "") -> StartError:
    """Return the error for an address on which the server cannot listen."""
    reason = error if isinstance(error, str) else error.strerror or str(error)
    return StartError(f"cannot listen on {address}: {reason}{advice and f'; {advice}'}", event="cannot-listen")
