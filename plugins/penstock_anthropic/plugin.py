"""The plug-in ``anthropic``: the offers of all endpoints, gathered under Anthropic's paths."""

from __future__ import annotations

from penstock.hooks import App, Dialect, Route, hookimpl, offers_of
from penstock_anthropic.message_dialect import message_dialect
from penstock_anthropic.message_offers import PLUGIN, Messages
from penstock_anthropic.model_list import listing_routes
from penstock_anthropic.token_dialect import token_dialect
from penstock_chat import ModelOffer, ModelTable, PathSettings


class AnthropicSettings(PathSettings, frozen=True, kw_only=True):
    """The settings of the paths."""

    example = "/anthropic"

    prefix: str = ""


class AnthropicPlugin:
    """The plug-in.

    Parameters
    ----------
    settings:
        Its settings.
    """

    name = PLUGIN
    Settings = AnthropicSettings

    def __init__(self, settings: AnthropicSettings) -> None:
        self._prefix = settings.prefix

    @hookimpl
    def penstock_dialects(self, app: App) -> list[Dialect]:
        """Return the dialects of messages and of their tokens, if the app has such models."""
        offers = offers_of(app, Messages)
        if not offers:
            return []
        table = ModelTable(offers)
        return [message_dialect(table, self._prefix), token_dialect(table, self._prefix, app)]

    @hookimpl
    def penstock_routes(self, app: App) -> list[Route]:
        """Return the routes that list the models.

        Without a prefix, their path is that of other protocols too. It is left to these if the app has such models.
        """
        offers = [offer for _, offer in offers_of(app, Messages)]
        has_others = any(offer.gatherer != PLUGIN for _, offer in offers_of(app, ModelOffer))
        return [] if not offers or (has_others and not self._prefix) else listing_routes(offers, self._prefix)
