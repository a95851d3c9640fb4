"""Which tools a request lets the model call, and which it has to call."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal, TypeAlias

from penstock_chat import ChatRequest

ToolMode: TypeAlias = Literal["none", "auto", "required"]


def choose_tools(
    request: ChatRequest,
    mode: ToolMode,
    *,
    forced: str | None = None,
    allowed: Collection[str] | None = None,
) -> None:
    """Set the choice among the tools of a request.

    Parameters
    ----------
    request:
        The request, with its tools.
    mode:
        ``required`` if one must be called, ``none`` if none may be.
    forced:
        The name of the one that must be called; None if there is none.
    allowed:
        The names of those that may be called; None for all of them.
    """
    if allowed is not None:
        request.tools = [tool for tool in request.tools if tool.name in allowed]
    request.tool_choice = mode if forced is None else "required"
    request.forced_tool = forced
