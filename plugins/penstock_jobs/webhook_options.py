"""The option ``webhook`` of a job, as callers send it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from penstock.errors import InvalidRequest
from penstock.job_store import FINAL, Webhook
from penstock_jobs.webhook_addresses import AddressRefused, target_of
from penstock_jobs.webhook_settings import WebhookSettings

EVENTS: Final = (*sorted(FINAL), "started", "progress")
_MEMBERS: Final = frozenset({"url", "events"})


class InvalidWebhook(InvalidRequest):
    """The webhook of a job cannot be used: its URL, its events, or webhooks at all. Nothing was stored."""

    code = "invalid-webhook"
    title = "The webhook cannot be used"


def read_webhook(option: Any, settings: WebhookSettings) -> Webhook | None:
    """Return the webhook that a caller asks for: ``{"url": ..., "events": [...]}``; None for none.

    The name of the host is not resolved here: that may take long, and the answer may be another one when the webhook
    is sent. Every sending checks the addresses.

    Raises
    ------
    InvalidWebhook
        If it cannot be used; the message says what to change.
    """
    if option is None:
        return None
    if not settings.sends_webhooks:
        raise _invalid("webhook", "this server sends none; its operator has not set webhook_secret_file")
    if not isinstance(option, Mapping) or not _MEMBERS.issuperset(option):
        raise _invalid("webhook", 'write {"url": "https://...", "events": ["succeeded", "failed"]}')
    return Webhook(_url_in(option.get("url"), settings), _events_in(option.get("events")))


def _url_in(url: Any, settings: WebhookSettings) -> str:
    if not isinstance(url, str):
        raise _invalid("webhook.url", "it must be text: https://example.org/path")
    try:
        target_of(url, settings.webhook_hosts)
    except AddressRefused as error:
        raise _invalid("webhook.url", str(error)) from None
    return url


def _events_in(events: Any) -> tuple[str, ...]:
    if events is None:
        return Webhook("").events
    if not isinstance(events, list) or not events:
        raise _invalid("webhook.events", f"it must be a list of some of: {', '.join(EVENTS)}")
    for event in events:
        if event not in EVENTS:
            raise _invalid("webhook.events", f"{str(event)[:40]!r} is not an event; there are: {', '.join(EVENTS)}")
    return tuple(dict.fromkeys(events))


def _invalid(path: str, reason: str) -> InvalidWebhook:
    return InvalidWebhook(f"{path}: {reason}", errors=[{"path": f"$.{path}", "reason": reason}], param=path)
