"""The signatures of webhooks, as receivers verify them."""

from __future__ import annotations

import base64
import time
from pathlib import Path

import pytest
from openai import OpenAI
from standardwebhooks import Webhook, WebhookVerificationError

from penstock.job_store import JobDelivery
from penstock_jobs.webhook_signing import SigningSecrets, message_id_of, secret_source

OLD = "whsec_" + base64.b64encode(b"o" * 24).decode()
NEW = "whsec_" + base64.b64encode(b"n" * 32).decode()
BODY = '{"type": "job.succeeded", "data": {"name": "Zoë"}}'.encode()


def delivery(job: str = "j", seq: int = 2, created_at: float = 1.5, **rest: object) -> JobDelivery:
    return JobDelivery(
        id=f"{job}/{seq}", job=job, seq=seq, event="succeeded", url="", created_at=created_at, next_at=0.0, **rest
    )


def test_the_library_of_the_standard_verifies_a_message() -> None:
    """A receiver needs the secret and the library "Standard Webhooks" alone."""
    headers = SigningSecrets(NEW).headers("msg_1", BODY, time.time())
    assert Webhook(NEW).verify(BODY, headers)["type"] == "job.succeeded"
    with pytest.raises(WebhookVerificationError):
        Webhook(NEW).verify(BODY + b" ", headers)


def test_each_sending_is_signed_with_its_own_time() -> None:
    """Receivers refuse messages older than five minutes, and the last sending is three days after the event."""
    secrets, now = SigningSecrets(NEW), time.time()
    with pytest.raises(WebhookVerificationError, match="too old"):
        Webhook(NEW).verify(BODY, secrets.headers("msg_1", BODY, now - 301))
    Webhook(NEW).verify(BODY, secrets.headers("msg_1", BODY, now))


def test_while_a_secret_is_replaced_receivers_may_know_either() -> None:
    """There is a signature by each secret, with a space between them, the first one by the first secret."""
    headers = SigningSecrets(f"{NEW}\n{OLD}\n").headers("msg_1", BODY, time.time())
    assert [part[:3] for part in headers["webhook-signature"].split(" ")] == ["v1,", "v1,"]
    with OpenAI(api_key="unused") as client:
        for secret in (OLD, NEW):
            Webhook(secret).verify(BODY, headers)
            client.webhooks.verify_signature(BODY, headers, secret=secret)
    assert headers["webhook-signature"].startswith(
        SigningSecrets(NEW).headers("msg_1", BODY, time.time())["webhook-signature"]
    )


def test_a_file_is_read_for_each_message(tmp_path: Path) -> None:
    """A secret is replaced without a restart."""
    path = tmp_path / "secret"
    path.write_text(OLD)
    read = secret_source(None, str(path))
    Webhook(OLD).verify(BODY, read().headers("m", BODY, time.time()))
    path.write_text(f"{NEW}, {OLD}")
    Webhook(NEW).verify(BODY, read().headers("m", BODY, time.time()))


@pytest.mark.parametrize("text", ["", "whsec_", "whsec_???", f"whsec_{'x' * 8}", "x" * 32, " ".join([NEW] * 5)])
def test_what_is_not_a_secret_is_refused_without_being_shown(text: str) -> None:
    """The error says which one and why."""
    with pytest.raises(ValueError, match="webhook secret") as caught:
        SigningSecrets(text)
    assert not text or text not in str(caught.value)


def test_no_secret_is_in_a_repr() -> None:
    """A traceback or a log line may show the object."""
    assert repr(SigningSecrets(f"{NEW} {OLD}")) == "<SigningSecrets: 2>"


def test_a_message_has_the_same_id_each_time_it_is_sent() -> None:
    """The id is that of the event: neither the number of the sending nor the sender changes it."""
    first = message_id_of(delivery())
    assert message_id_of(delivery(sent=3, claim=4, owner="other", state="sending")) == first
    assert "." not in message_id_of(delivery(job="a.b"))
    # Another event, and the same one of a job that has taken the id of a deleted one.
    assert len({first, message_id_of(delivery(seq=3)), message_id_of(delivery(created_at=2.5))}) == 3
