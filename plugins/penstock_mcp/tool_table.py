"""The tools of an app, by their names, and the list of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from penstock.errors import DeclarationError
from penstock.hooks import Endpoint
from penstock_mcp.tool_offers import ToolOffer
from penstock_mcp.tool_schemas import RESULT_FIELD, argument_schema, is_object, result_schema, wrapped

TOOLS_PER_PAGE: Final = 200

_encode = msgspec.json.Encoder(enc_hook=str).encode


class ServedTool:
    """One tool.

    Parameters
    ----------
    endpoint:
        The endpoint that does its work.
    offer:
        Its declaration.

    Attributes
    ----------
    name:
        Its name.
    endpoint_name:
        The name of the endpoint.
    whole_argument:
        The name of the one argument that is the whole body of the endpoint; None if the arguments are the body.
    needs_argument:
        True if that argument must be there.
    wraps_results:
        True if the handler promises a result that is not an object; before 2026-07-28, it is put into one.
    """

    def __init__(self, endpoint: Endpoint, offer: ToolOffer) -> None:
        self.name = offer.name_for(endpoint)
        self.endpoint_name = endpoint.name
        arguments, self.whole_argument = argument_schema(endpoint)
        self.needs_argument = "required" in arguments
        results = result_schema(endpoint)
        self.wraps_results = results is not None and not is_object(results)
        self._entry: dict[str, Any] = {"name": self.name, "description": offer.description_for(endpoint)}
        if offer.title is not None:
            self._entry["title"] = offer.title
        self._entry["inputSchema"] = arguments
        self._results = results
        self._hints = offer.hints()

    def entry(self, *, is_modern: bool) -> msgspec.Raw:
        """Return the tool as it is listed. Before 2026-07-28, every result is an object."""
        entry = dict(self._entry)
        if self._results is not None:
            as_it_is = is_modern or not self.wraps_results
            entry["outputSchema"] = self._results if as_it_is else wrapped(self._results, RESULT_FIELD)
        if self._hints:
            entry["annotations"] = self._hints
        return msgspec.Raw(_encode(entry))


class ToolTable:
    """All tools of an app.

    Parameters
    ----------
    offers:
        The offers, each with its endpoint.

    Attributes
    ----------
    endpoint_names:
        The names of their endpoints.

    Raises
    ------
    DeclarationError
        If two of them have one name.
    """

    def __init__(self, offers: Iterable[tuple[Endpoint, ToolOffer]]) -> None:
        self._tools: dict[str, ServedTool] = {}
        for endpoint, offer in offers:
            tool = ServedTool(endpoint, offer)
            other = self._tools.setdefault(tool.name, tool)
            if other is not tool:
                raise DeclarationError(
                    f"endpoint {endpoint.name!r}: there is a tool {tool.name!r} already, of endpoint "
                    f"{other.endpoint_name!r}; write Tool(name=...) in one of them"
                )
        self.endpoint_names = tuple(dict.fromkeys(tool.endpoint_name for tool in self._tools.values()))
        self._pages = {
            is_modern: [tool.entry(is_modern=is_modern) for tool in self._tools.values()] for is_modern in (False, True)
        }

    @property
    def names(self) -> list[str]:
        """The names of the tools."""
        return list(self._tools)

    def find(self, name: str) -> ServedTool | None:
        """Return the tool of this name; None if there is none."""
        return self._tools.get(name)

    def page(self, cursor: str | None, *, is_modern: bool) -> dict[str, Any] | None:
        """Return a page of the list; None if the cursor is not one that a page has named."""
        entries = self._pages[is_modern]
        start = 0
        if cursor is not None:
            if cursor not in {str(place) for place in range(TOOLS_PER_PAGE, len(entries), TOOLS_PER_PAGE)}:
                return None
            start = int(cursor)
        end = start + TOOLS_PER_PAGE
        page: dict[str, Any] = {"tools": entries[start:end]}
        if end < len(entries):
            page["nextCursor"] = str(end)
        return page
