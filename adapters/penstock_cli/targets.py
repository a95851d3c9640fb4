"""What TARGET names: a look before anything is started, and the error when there is nothing."""

from __future__ import annotations

import importlib.machinery
import os
import sys
from pathlib import Path

import click
from rich.console import Console
from rich.text import Text

from penstock.errors import DeclarationError
from penstock.hosting import load_app


class TargetError(click.ClickException):
    """TARGET names nothing that can be served. Shown without the Python traceback of Penstock; exit code 2."""

    exit_code = 2

    def __init__(self, message: str, traceback: str = "") -> None:
        super().__init__(message)
        self.traceback = traceback

    def show(self, file: object = None) -> None:  # noqa: ARG002 - click's signature
        """Print the user's own frames, if the error is in the app, and then what is wrong."""
        console = Console(stderr=True, soft_wrap=True, highlight=False)
        if self.traceback:
            console.print(Text(self.traceback, style="dim"))
        console.print(Text.assemble(("Error: ", "bold red"), self.message))


def include_current_folder() -> None:
    """Make modules of the current folder importable, as gunicorn and uvicorn do."""
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.insert(0, folder)


def check_target(target: str) -> None:
    """See a typo in the file or the module without importing it.

    Raises
    ------
    TargetError
        With the cause and the mend.
    """
    if _exists(target.partition(":")[0]):
        return
    try:
        # There is nothing that this could run, and its error says best what was probably meant.
        load_app(target)
    except DeclarationError as error:
        raise TargetError(str(error)) from None


def _exists(place: str) -> bool:
    if place.endswith(".py") or os.sep in place:
        return Path(place).is_file()
    package = place.partition(".")[0]
    # Only the outermost package: finding a module inside it would import the package.
    return package in sys.builtin_module_names or importlib.machinery.PathFinder.find_spec(package) is not None
