"""The functions of plug-ins that are called in each worker, and when it ends.

A worker loads no plug-in. The engine names the functions, and the worker goes on if one of them fails: the reason is in
the log.
"""

from __future__ import annotations

import pkgutil
import traceback
from collections.abc import Callable, Iterable
from typing import Any

from penstock.app import App


def call_setups(paths: Iterable[str], app: App) -> list[Callable[[], object]]:
    """Call the functions with these paths, and return those that they want to have called at the end."""
    ends: list[Callable[[], object]] = []
    for path in paths:
        try:
            end: Any = pkgutil.resolve_name(path)(app)
        except BaseException:
            traceback.print_exc()
        else:
            if callable(end):
                ends.append(end)
    return ends


def call_ends(ends: Iterable[Callable[[], object]]) -> None:
    """Call what ``call_setups`` has returned."""
    for end in ends:
        try:
            end()
        except BaseException:
            traceback.print_exc()
