"""Why an app could not be loaded, in the words and with the frames of its author."""

from __future__ import annotations

import os
import sys
import traceback

from penstock.errors import DeclarationError

# Packages whose frames tell an app's author nothing. They are looked up, not imported: click may not be there.
MACHINERY = ("penstock", "penstock_cli", "penstock_falcon", "penstock_gunicorn", "gunicorn", "click")


def describe_failure(error: BaseException) -> tuple[str, str]:
    """Return one sentence, and the traceback with only the frames outside Penstock and gunicorn (or "").

    A ``DeclarationError`` speaks for itself: its own words are the sentence. The traceback is that of its cause, or
    else shows the user's line that raised it.
    """
    if not isinstance(error, DeclarationError):
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
