"""The arguments after ``--``: the app's own, which it finds in ``sys.argv`` as if it were run by itself."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from penstock_cli.serve_options import explained


class AppCommand(click.Command):
    """A command with a TARGET. It passes everything after ``--`` to its function as ``arguments``, a tuple."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments before ``--``, and keep those after it as they are."""
        end = args.index("--") if "--" in args else len(args)
        try:
            rest = super().parse_args(ctx, args[:end])
        except click.NoSuchOption as error:
            raise explained(error) from None
        ctx.params["arguments"] = tuple(args[end + 1 :])
        return rest

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        """Return the pieces of the usage line."""
        return [*super().collect_usage_pieces(ctx), "[-- ARGUMENTS OF THE APP]"]


def show_arguments_to_app(target: str, arguments: Sequence[str]) -> None:
    """Set ``sys.argv`` to the app's file and its arguments. Workers receive the same."""
    sys.argv[:] = [_file_of(target.partition(":")[0]), *arguments]


def _file_of(place: str) -> str:
    """Return the file that a target names, found without importing anything; a module that is in none is itself."""
    if place.endswith(".py") or os.sep in place:
        return place
    parts = place.split(".")
    for folder in sys.path:
        base = Path(folder, *parts)
        for file in (base / "__init__.py", base.with_name(f"{parts[-1]}.py")):
            if file.is_file():
                return str(file)
    return place
