"""The plug-in ``openai``: the offers of all endpoints, gathered under OpenAI's paths."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

from penstock.hooks import App, Dialect, Route, hookimpl, offers_of
from penstock_chat import ModelOffer, ModelTable, PathSettings
from penstock_openai.audio_offers import Speech, Transcriptions
from penstock_openai.chat_dialect import chat_dialect
from penstock_openai.completion_dialect import completion_dialect
from penstock_openai.embedding_dialect import embedding_dialect
from penstock_openai.model_routes import model_routes
from penstock_openai.openai_offers import PLUGIN, Chat, Completions, Embeddings, OpenAIOffer
from penstock_openai.response_dialect import response_dialect
from penstock_openai.response_offers import Responses
from penstock_openai.speech_dialect import speech_dialect
from penstock_openai.stored_routes import stored_routes
from penstock_openai.transcription_dialect import transcription_dialect

OfferT = TypeVar("OfferT", bound=ModelOffer)


class OpenAISettings(PathSettings, frozen=True, kw_only=True):
    """The settings of the paths."""

    example = "/openai/v1"

    prefix: str = "/v1"


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
        return [
            *self._dialect(app, Chat, chat_dialect),
            *self._dialect(app, Completions, completion_dialect),
            *self._dialect(app, Embeddings, embedding_dialect),
            *self._dialect(app, Responses, response_dialect),
            *self._dialect(app, Speech, speech_dialect),
            *self._dialect(app, Transcriptions, transcription_dialect),
        ]

    def _dialect(
        self, app: App, kind: type[OfferT], make: Callable[[ModelTable[OfferT], str], Dialect]
    ) -> Iterator[Dialect]:
        """Yield the dialect of the offers of one kind, if there are any."""
        offers = offers_of(app, kind)
        if offers:
            yield make(ModelTable(offers), self._prefix)

    @hookimpl
    def penstock_routes(self, app: App) -> list[Route]:
        """Return the routes that list the models, and those of stored responses, if there are any."""
        offers = [offer for _, offer in offers_of(app, OpenAIOffer)]
        routes = model_routes(offers, self._prefix) if offers else []
        return [*routes, *(stored_routes(self._prefix) if offers_of(app, Responses) else ())]
