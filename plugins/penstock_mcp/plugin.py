"""The plug-in ``mcp``: the tools of all endpoints under one path."""

from __future__ import annotations

import re
from typing import Final

from penstock.hooks import App, Dialect, PluginSettings, hookimpl, offers_of
from penstock_mcp.mcp_dialect import mcp_dialect
from penstock_mcp.origin_check import OriginCheck
from penstock_mcp.server_facts import ServerFacts
from penstock_mcp.tool_offers import PLUGIN, ToolOffer
from penstock_mcp.tool_table import ToolTable

_PATH: Final = re.compile(r"(/[\w.-]+)*", re.ASCII)


class McpSettings(PluginSettings, frozen=True, kw_only=True):
    """The settings of the server of tools.

    Parameters
    ----------
    prefix:
        The path at which all tools are served, with and without a slash at its end.
    origins:
        The origins of pages in browsers that may use the tools, besides those of this machine and of this server;
        ``*`` for all.
    name:
        The name of the server, for clients to show. Default: that of the app.
    version:
        The version of the server. Default: that of Penstock.
    instructions:
        Advice to the model about all tools together. Default: none.

    Raises
    ------
    ValueError
        If the prefix is not a path, or an origin is not one.
    """

    prefix: str = "/mcp"
    origins: tuple[str, ...] = ()
    name: str = ""
    version: str = ""
    instructions: str = ""

    def __post_init__(self) -> None:
        if not _PATH.fullmatch(self.prefix):
            raise ValueError(f"prefix={self.prefix!r} is not a path; write for instance /mcp")
        OriginCheck(self.origins)


class McpPlugin:
    """The plug-in.

    Parameters
    ----------
    settings:
        Its settings.
    """

    name = PLUGIN
    Settings = McpSettings

    def __init__(self, settings: McpSettings) -> None:
        self._settings = settings

    @hookimpl
    def penstock_dialects(self, app: App) -> list[Dialect]:
        """Return the dialect of the tools, if the app has any."""
        offers = offers_of(app, ToolOffer)
        if not offers:
            return []
        settings = self._settings
        table = ToolTable(offers)
        facts = ServerFacts(table, settings.name or app.import_name, settings.version, settings.instructions)
        return [mcp_dialect(table, facts, OriginCheck(settings.origins), settings.prefix)]
