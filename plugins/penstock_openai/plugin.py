"""The plug-in ``openai``: the offers of all endpoints, gathered under OpenAI's paths."""

from __future__ import annotations

from penstock.hooks import App, Dialect, PluginSettings, Route, hookimpl, offers_of
from penstock_chat import ModelTable, check_prefix
from penstock_openai.chat_dialect import chat_dialect
from penstock_openai.completion_dialect import completion_dialect
from penstock_openai.embedding_dialect import embedding_dialect
from penstock_openai.model_routes import model_routes
from penstock_openai.openai_offers import PLUGIN, Chat, Completions, Embeddings, OpenAIOffer


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
        check_prefix(self.prefix, "/openai/v1")


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
        chats, completions, embeddings = offers_of(app, Chat), offers_of(app, Completions), offers_of(app, Embeddings)
        dialects = []
        if chats:
            dialects.append(chat_dialect(ModelTable(chats), self._prefix))
        if completions:
            dialects.append(completion_dialect(ModelTable(completions), self._prefix))
        if embeddings:
            dialects.append(embedding_dialect(ModelTable(embeddings), self._prefix))
        return dialects

    @hookimpl
    def penstock_routes(self, app: App) -> list[Route]:
        """Return the routes that list the models, if there are any."""
        offers = [offer for _, offer in offers_of(app, OpenAIOffer)]
        return model_routes(offers, self._prefix) if offers else []
