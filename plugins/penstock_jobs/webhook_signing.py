"""Signatures of webhooks, by the specification "Standard Webhooks"."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from penstock.job_store import JobDelivery

PREFIX: Final = "whsec_"
LEAST_BYTES: Final = 24
MOST_BYTES: Final = 64
MOST_SECRETS: Final = 4
"""Each secret adds a signature to every message, so an old one is to be removed once its receivers know the new one."""

_BETWEEN = re.compile(r"[\s,]+")


class SigningSecrets:
    """The secrets that messages are signed with: one, or several while a secret is being replaced.

    Its ``repr`` shows their number alone.

    Parameters
    ----------
    text:
        Secrets such as ``whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw``, separated by spaces, commas or newlines, the newest
        first.

    Raises
    ------
    ValueError
        If there is none, there are more than 4, or one is not a secret. The message never contains one.
    """

    def __init__(self, text: str) -> None:
        secrets = [secret for secret in _BETWEEN.split(text) if secret]
        if not 1 <= len(secrets) <= MOST_SECRETS:
            raise ValueError(
                f"{len(secrets)} webhook secrets; set 1 to {MOST_SECRETS}, the newest first, and remove the oldest"
            )
        self._keys = tuple(_key_of(secret, position) for position, secret in enumerate(secrets, 1))

    def __repr__(self) -> str:
        return f"<SigningSecrets: {len(self._keys)}>"

    def headers(self, message_id: str, body: bytes, now: float) -> dict[str, str]:
        """Return the headers of a message that is sent at ``now``, in Unix seconds.

        The time is that of this sending and not of the event: receivers refuse messages that are older than 5 minutes.
        """
        from standardwebhooks import Webhook  # noqa: PLC0415 - needs the extra `jobs`, and only to send

        at = datetime.fromtimestamp(int(now), tz=UTC)
        text = body.decode()
        signatures = [Webhook(key).sign(message_id, at, text) for key in self._keys]
        return {
            "webhook-id": message_id,
            "webhook-timestamp": str(int(now)),
            "webhook-signature": " ".join(signatures),
        }


def secret_source(text: str | None, path: str | None) -> Callable[[], SigningSecrets]:
    """Return the callable that reads the secrets: from the text, otherwise from the file, anew each time.

    The callable raises ``ValueError`` or ``OSError`` if it cannot.
    """
    if text is not None:
        secrets = SigningSecrets(text)
        return lambda: secrets
    if path is None:
        raise ValueError("webhooks need a secret: set webhook_secret_file or webhook_secret")
    file = Path(path)
    return lambda: SigningSecrets(file.read_text(encoding="ascii", errors="replace"))


def message_id_of(delivery: JobDelivery) -> str:
    """Return the ``webhook-id`` of a delivery, the same each time it is sent.

    A job's id may contain the full stop that separates what is signed. It may also be used again once the job is
    deleted, and receivers must not take the new event for a repetition. Hence a hash, of the event's time too.
    """
    digest = hashlib.sha256(f"{delivery.id}\0{delivery.created_at!r}".encode()).hexdigest()
    return f"msg_{digest[:32]}"


def _key_of(secret: str, position: int) -> bytes:
    if not secret.startswith(PREFIX):
        raise ValueError(f"webhook secret number {position} does not begin with {PREFIX}")
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except binascii.Error:
        raise ValueError(f"webhook secret number {position} is not base64 after {PREFIX}") from None
    if not LEAST_BYTES <= len(key) <= MOST_BYTES:
        raise ValueError(
            f"webhook secret number {position} has {len(key)} bytes; use {LEAST_BYTES} to {MOST_BYTES} random ones"
        )
    return key
