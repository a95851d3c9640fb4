"""Offers of endpoints as tools, for ``endpoint(dialects=[...])``."""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from penstock.errors import DeclarationError
from penstock.hooks import DialectOffer, Endpoint

PLUGIN: Final = "mcp"

_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,128}")
_HINTS: Final = {
    "read_only": "readOnlyHint",
    "destructive": "destructiveHint",
    "idempotent": "idempotentHint",
    "open_world": "openWorldHint",
}


@dataclass(frozen=True, kw_only=True)
class ToolOffer(DialectOffer):
    """An endpoint as a tool of the Model Context Protocol. Its public name is ``penstock_mcp.Tool``.

    Parameters
    ----------
    description:
        Its purpose, for the model that decides whether to call it. Default: the docstring of the handler.
    name:
        Its name, of 1 to 128 letters, digits, ``_``, ``-`` and ``.``. Default: the path, with ``_`` for ``/``.
    title:
        Its name for people. Default: none.
    read_only:
        True if it changes nothing; a client may then call it without asking its user. None: not said.
    destructive:
        False if all that it changes is added, so that nothing is lost. None: not said.
    idempotent:
        True if a second call with the same arguments changes nothing more. None: not said.
    open_world:
        False if it deals with nothing outside the server. None: not said.
    """

    description: str | None = None
    name: str | None = None
    title: str | None = None
    read_only: bool | None = None
    destructive: bool | None = None
    idempotent: bool | None = None
    open_world: bool | None = None

    gatherer: ClassVar[str] = PLUGIN

    def check(self, endpoint: Endpoint) -> None:
        """Check that an endpoint can be a tool.

        Raises
        ------
        DeclarationError
            If there is no description, if the name is not one, or if the arguments cannot be JSON.
        """
        owner = f"endpoint {endpoint.name!r}"
        name = self.name_for(endpoint)
        if not _NAME.fullmatch(name):
            raise DeclarationError(
                f"{owner}: {name!r} is not the name of a tool, which has 1 to 128 letters, digits, `_`, `-` and `.`; "
                "write Tool(name=...)"
            )
        if not self.description_for(endpoint):
            raise DeclarationError(
                f"{owner}: the tool {name!r} has no description, and no model would know when to call it; write "
                "Tool(description=...), or give the handler a docstring"
            )
        if endpoint.codec.reads in ("bytes", "form"):
            taken = "raw bytes" if endpoint.codec.reads == "bytes" else "an Upload"
            raise DeclarationError(
                f"{owner}: the tool {name!r} takes {taken}, and the arguments of a tool are JSON; take a str, for "
                "instance a URL or base64, or remove Tool from dialects="
            )

    def name_for(self, endpoint: Endpoint) -> str:
        """Return the name of the tool."""
        return endpoint.path.strip("/").replace("/", "_") if self.name is None else self.name

    def description_for(self, endpoint: Endpoint) -> str:
        """Return the description of the tool; "" if there is none."""
        if self.description is not None:
            return self.description.strip()
        handler = endpoint.handler
        return inspect.cleandoc(handler.__doc__ or getattr(handler, "predict", handler).__doc__ or "")

    def hints(self) -> dict[str, Any]:
        """Return what the declaration says about the effects of the tool, as the protocol names it."""
        given = {hint: getattr(self, field) for field, hint in _HINTS.items()}
        return {hint: value for hint, value in given.items() if value is not None}


# The class of chats has the same name in its module; in messages, this one is called what users write.
ToolOffer.__name__ = ToolOffer.__qualname__ = "Tool"
