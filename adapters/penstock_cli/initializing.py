"""``penstock init``: write a small project that works as it is."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from penstock_cli.project_files import files_of_project

# A folder with nothing but these is as good as an empty one.
_IGNORED = frozenset({".git", ".venv", ".idea", ".vscode"})


class ProjectError(click.ClickException):
    """The project cannot be written; exit code 2."""

    exit_code = 2


def init_project(folder: Path, name: str | None) -> None:
    """Write the files of a new project into a new or an empty folder, and say what to do next.

    Raises
    ------
    ProjectError
        If there is something in the folder, or it cannot be written. Nothing is overwritten.
    """
    files = files_of_project(name or folder.resolve().name)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        found = sorted(path.name for path in folder.iterdir() if path.name not in _IGNORED)
        if found:
            others = "" if len(found) == 1 else f" and {len(found) - 1} more"
            raise ProjectError(f"{folder} is not empty: it has {found[0]}{others}; name a new or an empty folder")
        for file, text in files.items():
            with (folder / file).open("x", encoding="utf-8") as opened:
                opened.write(text)
    except FileExistsError as error:
        raise ProjectError(f"{error.filename} exists, and is not a folder; name a new or an empty one") from None
    except OSError as error:
        raise ProjectError(f"{folder} cannot be written: {error.strerror}") from None
    click.echo(f"wrote {', '.join(files)}\n")
    click.echo("next:")
    if folder.resolve() != Path.cwd():
        click.echo(f"  cd {shlex.quote(str(folder))}")
    click.echo("  penstock serve app:app")
