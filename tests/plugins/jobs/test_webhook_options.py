"""The option ``webhook`` of a job, and the settings of webhooks."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from penstock.hooks.settings import Sources
from penstock.job_store import FINAL
from penstock_jobs.webhook_options import InvalidWebhook, read_webhook
from penstock_jobs.webhook_settings import WebhookSettings

SECRET = "whsec_" + base64.b64encode(b"s" * 24).decode()
SETTINGS = WebhookSettings(webhook_secret=SECRET, webhook_hosts=("hooks.internal",))


def test_a_webhook_reports_the_end_by_default() -> None:
    """Every final state is an event."""
    webhook = read_webhook({"url": "https://example.org/"}, SETTINGS)
    assert webhook is not None
    assert webhook.url == "https://example.org/"
    assert frozenset(webhook.events) == FINAL
    assert read_webhook(None, SETTINGS) is None


def test_a_caller_may_choose_events() -> None:
    """In any order; one that is named twice counts once."""
    webhook = read_webhook({"url": "http://hooks.internal/", "events": ["started", "failed", "started"]}, SETTINGS)
    assert webhook is not None
    assert webhook.events == ("started", "failed")


@pytest.mark.parametrize(
    ("option", "path"),
    [
        ("https://example.org/", "$.webhook"),
        ({"url": "https://example.org/", "secret": "s"}, "$.webhook"),
        ({}, "$.webhook.url"),
        ({"url": 7}, "$.webhook.url"),
        ({"url": "http://example.org/"}, "$.webhook.url"),
        ({"url": "https://10.0.0.1/"}, "$.webhook.url"),
        ({"url": "https://example.org/", "events": "failed"}, "$.webhook.events"),
        ({"url": "https://example.org/", "events": []}, "$.webhook.events"),
        ({"url": "https://example.org/", "events": ["finished"]}, "$.webhook.events"),
        ({"url": "https://example.org/", "events": [{}]}, "$.webhook.events"),
    ],
)
def test_a_webhook_that_cannot_be_used_is_refused(option: Any, path: str) -> None:
    """With 422, before the job is stored, and with the place of the mistake."""
    with pytest.raises(InvalidWebhook) as caught:
        read_webhook(option, SETTINGS)
    assert (caught.value.status, caught.value.code) == (422, "invalid-webhook")
    assert not caught.value.retryable
    assert [error["path"] for error in caught.value.errors] == [path]


def test_a_server_without_a_secret_takes_no_webhook() -> None:
    """Unsigned messages are never sent, so the caller hears of it at once."""
    with pytest.raises(InvalidWebhook, match="webhook_secret_file"):
        read_webhook({"url": "https://example.org/"}, WebhookSettings())


@pytest.mark.parametrize(
    "values",
    [
        {"webhook_secret": "whsec_short"},
        {"webhook_secret": ""},
        {"webhook_secret": SECRET, "webhook_secret_file": "secret"},
        {"webhook_secret_file": " "},
        {"webhook_hosts": ("https://hooks.internal/",)},
        {"webhook_timeout": 0},
        {"webhook_timeout": 600},
        {"webhook_concurrency": 0},
        {"webhook_concurrency_per_host": 0},
    ],
)
def test_settings_that_cannot_be_used_stop_the_start(values: dict[str, Any]) -> None:
    """The message names the setting."""
    with pytest.raises(ValueError, match="webhook"):
        WebhookSettings(**values)


def test_the_secret_comes_from_the_environment_and_is_not_shown() -> None:
    """A traceback may show the settings."""
    settings = Sources({}, {"PENSTOCK_JOBS_WEBHOOK_SECRET": SECRET}).resolve("jobs", WebhookSettings).settings
    assert settings.sends_webhooks
    assert SECRET not in repr(settings)
