"""The plug-in ``openai``: the offers of all endpoints, gathered under OpenAI's paths."""

from __future__ import annotations

import re
from typing import Final

from penstock.hooks import App, Dialect, PluginSettings, Route, hookimpl, offers_of
from penstock_chat import ModelTable
from penstock_openai.chat_dialect import chat_dialect
from penstock_openai.model_offers import PLUGIN, Chat, OpenAIOffer
from penstock_openai.model_routes import model_routes

_PREFIX: Final = re.compile(r"(/[\w.-]+)*", re.ASCII)


class OpenAISettings(PluginSettings, frozen=True, kw_only=True):
    """The settings of the paths.

    Parameters
    ----------
    prefix:
        The beginning of all paths: the part of a client's ``base_url`` after the host.

    Raises
    ------
    ValueError
        If the prefix is not a path.
    """

    prefix: str = "/v1"

    def __post_init__(self) -> None:
        if not _PREFIX.fullmatch(self.prefix):
            raise ValueError(f"prefix={self.prefix!r} is not the beginning of a path; write for instance /openai/v1")


class OpenAIPlugin:
    """The plug-in.

    Parameters
    ----------
    settings:
        Its settings.
    """

    name = PLUGIN
    Settings = OpenAISettings

    def __init__(self, settings: OpenAISettings) -> None:
        self._prefix = settings.prefix

    @hookimpl
    def penstock_dialects(self, app: App) -> list[Dialect]:
        """Return a dialect for each kind of offer that the app has."""
        dialects = []
        for kind, make in ((Chat, chat_dialect),):
            offers = offers_of(app, kind)
            if offers:
                dialects.append(make(ModelTable(offers), self._prefix))
        return dialects

    @hookimpl
    def penstock_routes(self, app: App) -> list[Route]:
        """Return the routes that list the models, if there are any."""
        offers = [offer for _, offer in offers_of(app, OpenAIOffer)]
        return model_routes(offers, self._prefix) if offers else []
