"""TARGET: a cheap check before anything is started, loading the app, and the error if that fails."""

from __future__ import annotations

import contextlib
import importlib.machinery
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import click
from rich.text import Text

from penstock import App
from penstock.errors import DeclarationError
from penstock.hosting import load_app, make_importable
from penstock_cli.app_arguments import show_arguments_to_app
from penstock_cli.terminal import make_console
from penstock_gunicorn import describe_failure


class TargetError(click.ClickException):
    """TARGET does not name an app that can be served. Shown without Penstock's own traceback; exit code 2.

    Parameters
    ----------
    message:
        The cause and the fix.
    traceback:
        The frames of the user's code, or "".
    """

    exit_code = 2

    def __init__(self, message: str, traceback: str = "") -> None:
        super().__init__(message)
        self.traceback = traceback

    def show(self, file: object = None) -> None:  # noqa: ARG002 - click's signature
        """Print the user's own frames, if the error is in the app, and then the message."""
        console = make_console(stderr=True)
        if self.traceback:
            console.print(Text(self.traceback, style="dim"))
        console.print(Text.assemble(("Error: ", "bold red"), self.message))


def include_current_folder() -> None:
    """Make modules in the current folder importable, as gunicorn and uvicorn do."""
    make_importable(str(Path.cwd()))


def check_target(target: str) -> None:
    """Catch a misspelled file or module name without importing anything.

    Raises
    ------
    TargetError
        With the cause and the fix.
    """
    if _exists(target.partition(":")[0]):
        return
    try:
        # Nothing is there to be imported, and the loader's error has the best guess at the name that was meant.
        load_app(target)
    except DeclarationError as error:
        raise TargetError(str(error)) from None


def load_target(target: str, arguments: Sequence[str] = ()) -> App:
    """Import the app, with these arguments in ``sys.argv``. Its output goes to stderr.

    Raises
    ------
    TargetError
        If there is no such app, or its module or a declaration in it fails.
    """
    check_target(target)
    show_arguments_to_app(target, arguments)
    with user_code():
        return load_app(target)


@contextlib.contextmanager
def user_code() -> Iterator[None]:
    """Run the app's code in the block, keep its output out of stdout, and report its failures.

    Raises
    ------
    TargetError
        If the block raises anything but ``KeyboardInterrupt``.
    """
    try:
        with contextlib.redirect_stdout(sys.stderr):  # stdout may carry our JSON
            yield
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # sys.exit() in an app's module is a failure like any other
        raise TargetError(*describe_failure(error)) from None


def _exists(place: str) -> bool:
    if place.endswith(".py") or os.sep in place:
        return Path(place).is_file()
    package = place.partition(".")[0]
    # Only the outermost package: finding a module inside it would import the package.
    return package in sys.builtin_module_names or importlib.machinery.PathFinder.find_spec(package) is not None
