"""The settings of webhooks, and their validation."""

from __future__ import annotations

import re
from typing import Final

from penstock.hooks import PluginSettings, Secret
from penstock_jobs.webhook_signing import SigningSecrets

MOST_SECONDS: Final = 60.0
MOST_CONCURRENT: Final = 1000

_HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[0-9a-fA-F:]+|[\w.-]+)(:\d{1,5})?", re.ASCII)


class WebhookSettings(PluginSettings, frozen=True, kw_only=True):
    """The settings of webhooks. Without a secret, no webhook is accepted or sent.

    Parameters
    ----------
    webhook_secret_file:
        The file with the secret that messages are signed with, ``whsec_`` and base64. While it is being replaced, with
        both secrets, the newer one first. It is read for each message, so a change needs no restart.
    webhook_secret:
        The same as text, meant for the environment.
    webhook_hosts:
        Hosts that may be private and use ``http``, and any port: ``hooks.internal``, or ``127.0.0.1:8080`` for one
        port. Receivers at all other hosts need ``https`` and addresses of the public internet.
    webhook_ca_file:
        Certificates of authorities to trust instead of the system's, in PEM.
    webhook_timeout:
        Seconds that one sending may take, from the resolution of the name to the response.
    webhook_concurrency:
        The number of messages that this server sends at a time.
    webhook_concurrency_per_host:
        The number of messages that it sends to one host and port at a time.

    Raises
    ------
    ValueError
        If a value cannot be used.
    """

    webhook_secret_file: str | None = None
    webhook_secret: Secret | None = None
    webhook_hosts: tuple[str, ...] = ()
    webhook_ca_file: str | None = None
    webhook_timeout: float = 15.0
    webhook_concurrency: int = 64
    webhook_concurrency_per_host: int = 4

    def __post_init__(self) -> None:
        if self.webhook_secret is not None and self.webhook_secret_file is not None:
            raise ValueError("webhook_secret and webhook_secret_file are both set; remove one of them")
        if self.webhook_secret is not None:
            SigningSecrets(self.webhook_secret)
        # A path that is set but empty is one that failed to arrive.
        if self.webhook_secret_file is not None and not self.webhook_secret_file.strip():
            raise ValueError("webhook_secret_file is empty; set it to a path, or remove the setting")
        for host in self.webhook_hosts:
            if not _HOST.fullmatch(host):
                raise ValueError(f"webhook_hosts: {host!r} is not a host; write hooks.internal or 127.0.0.1:8080")
        if not 0 < self.webhook_timeout <= MOST_SECONDS:
            raise ValueError(f"webhook_timeout = {self.webhook_timeout:g}; set from 0 to {MOST_SECONDS:g} seconds")
        for name in ("webhook_concurrency", "webhook_concurrency_per_host"):
            if not 1 <= getattr(self, name) <= MOST_CONCURRENT:
                raise ValueError(f"{name} = {getattr(self, name)}; set 1 to {MOST_CONCURRENT}")

    @property
    def sends_webhooks(self) -> bool:
        """True if there is a secret to sign with."""
        return self.webhook_secret is not None or self.webhook_secret_file is not None
