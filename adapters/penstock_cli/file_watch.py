"""The files of an app are watched while it is developed, and a change loads the app again."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import watchfiles

from penstock import App
from penstock.hooks import log_event
from penstock.hosting import CONFIG_VARIABLE

SUFFIXES = (".py", ".toml")
"""Code, and the settings of plug-ins."""
DEBOUNCE_MS = 200
"""The longest time for which changes that follow each other count as one."""


def watched_paths(app: App) -> list[Path]:
    """Return the folder of the app's module, or of its outermost package, and the app's files that are elsewhere."""
    package = sys.modules.get(app.import_name.partition(".")[0])
    files = [Path(name).resolve() for name in app.source_files]
    file = getattr(package, "__file__", None)
    folders = [Path(file).resolve().parent] if file else [path.parent for path in files[:1]]
    if config := os.environ.get(CONFIG_VARIABLE):
        files.append(Path(config).resolve())
    return folders + [path for path in files if not any(path.is_relative_to(folder) for folder in folders)]


def watch_files(app: App, since: float, is_over: Callable[[], bool]) -> None:
    """Have the master of this HTTP process load the app again at each change, from a thread that does not end.

    Parameters
    ----------
    app:
        The app, as this process has imported it.
    since:
        The time at which the import began: files that are newer have changed already.
    is_over:
        Returns whether another process serves now, and watches.
    """
    threading.Thread(target=_watch, args=(app, since, is_over), daemon=True, name="file watch").start()


def _watch(app: App, since: float, is_over: Callable[[], bool]) -> None:
    for path in map(Path, app.source_files):
        if path.is_file() and path.stat().st_mtime > since:
            _reload(path)
            break
    try:
        for changes in watchfiles.watch(
            *watched_paths(app), watch_filter=_Filter(), raise_interrupt=False, debounce=DEBOUNCE_MS
        ):
            if is_over():
                return
            _reload(Path(min(path for _, path in changes)))
    except OSError as error:
        log_event(logging.ERROR, "watch-failed", f"changes of files are not noticed any more: {error}")


def _reload(path: Path) -> None:
    log_event(logging.INFO, "file-changed", f"{path} has changed; the app is loaded again", path=str(path))
    os.kill(os.getppid(), signal.SIGHUP)


class _Filter(watchfiles.DefaultFilter):
    """Leaves out hidden folders, virtual environments, caches, and files that are neither code nor settings."""

    def __call__(self, change: watchfiles.Change, path: str) -> bool:
        return path.endswith(SUFFIXES) and super().__call__(change, path)
