"""Errors of an app that cannot be loaded, described with only its author's own frames."""

from __future__ import annotations

import os
import sys
import traceback

from penstock.errors import DeclarationError
from penstock_gunicorn.start_errors import StartError

# Packages whose frames are of no use to an app's author. Looked up and not imported, since click may not be installed.
MACHINERY = ("penstock", "penstock_cli", "penstock_falcon", "penstock_gunicorn", "gunicorn", "click")


def describe_failure(error: BaseException) -> tuple[str, str]:
    """Return a one-line message, and the traceback without the frames of Penstock and gunicorn ("" if none is left).

    The message of a ``DeclarationError`` or ``StartError`` is returned as it is, without the name of the class. Its
    traceback is its cause's, if it has one; otherwise it shows the user's line that raised it.
    """
    if not isinstance(error, DeclarationError | StartError):
        return f"{type(error).__name__}: {error}", _user_traceback(error)
    if error.__cause__ is not None:
        return str(error), _user_traceback(error.__cause__)
    return str(error), _user_traceback(error, only_with_frames=True)


def _user_traceback(error: BaseException, *, only_with_frames: bool = False) -> str:
    folders = _machinery_folders()
    summary = traceback.TracebackException.from_exception(error)
    link: traceback.TracebackException | None = summary
    while link is not None:
        kept = [frame for frame in link.stack if not _is_machinery(frame.filename, folders)]
        link.stack = traceback.StackSummary.from_list(kept)
        link = link.__cause__ or link.__context__
    if only_with_frames and not summary.stack:
        return ""
    return "".join(summary.format()).rstrip()


def _machinery_folders() -> tuple[str, ...]:
    modules = [sys.modules[name] for name in MACHINERY if name in sys.modules]
    return tuple(f"{folder}{os.sep}" for module in modules for folder in module.__path__)


def _is_machinery(filename: str, folders: tuple[str, ...]) -> bool:
    return filename.startswith(("<frozen ", *folders)) or "/importlib/" in filename
