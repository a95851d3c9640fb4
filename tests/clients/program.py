"""The runner of the programs here, which runs checks against a server, and prints a line of JSON for each.

It runs in an environment of its own, in which nothing of Penstock is installed.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import traceback
from collections.abc import Callable
from typing import Any

URL = os.environ.get("JUDGED_URL", "")
BASE_URL = f"{URL}/v1"
KEY = os.environ.get("JUDGED_KEY", "sk-none")


def run(checks: dict[str, Any]) -> None:
    """Run each function of a module whose name begins with ``check_``, and print its name and what was wrong."""
    for name, check in checks.items():
        if name.startswith("check_"):
            print(json.dumps({"check": name, "fault": _fault_of(check)}), flush=True)


def _fault_of(check: Callable[[], Any]) -> str | None:
    try:
        returned = check()
        if inspect.isawaitable(returned):
            asyncio.run(_awaited(returned))
    except BaseException:
        return traceback.format_exc()
    return None


async def _awaited(awaitable: Any) -> None:
    await awaitable


def expect(found: object, wanted: object) -> None:
    """Raise ``AssertionError`` unless two values are equal."""
    if found != wanted:
        raise AssertionError(f"{found!r} is not {wanted!r}")


def raised_by(function: Callable[[], Any], kind: type[BaseException]) -> Any:
    """Return the exception of this class that a function raises."""
    try:
        function()
    except kind as error:
        return error
    raise AssertionError(f"nothing was raised, instead of {kind.__name__}")
