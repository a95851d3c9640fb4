"""The bodies of webhooks."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from penstock_jobs.webhook_payloads import MOST_BYTES, payload_of

DOCUMENT: dict[str, Any] = {
    "id": "0193",
    "endpoint": "square",
    "state": "succeeded",
    "metadata": {"order": "7"},
    "result": 16,
    "links": {"self": "/v1/jobs/0193", "result": "/v1/jobs/0193/result"},
}


def decoded(document: dict[str, Any]) -> dict[str, Any]:
    body = payload_of("succeeded", 1_800_000_000.25, document)
    assert len(body) <= MOST_BYTES
    return dict(msgspec.json.decode(body)["data"])


def test_a_body_has_the_type_the_time_and_the_document() -> None:
    """The form is that of "Standard Webhooks"."""
    assert msgspec.json.decode(payload_of("succeeded", 1_800_000_000.25, DOCUMENT)) == {
        "type": "job.succeeded",
        "timestamp": "2027-01-15T08:00:00.250Z",
        "data": DOCUMENT,
    }


def test_a_large_result_is_replaced_by_its_address() -> None:
    """Its receiver fetches it; all else stays."""
    data = decoded(DOCUMENT | {"result": "x" * MOST_BYTES})
    rest = {name: value for name, value in DOCUMENT.items() if name != "result"}
    assert data == rest | {"result_url": "/v1/jobs/0193/result", "omitted": ["result"]}


def test_other_members_are_left_out_only_if_need_be() -> None:
    """The body never exceeds the limit, and says what is missing."""
    large = DOCUMENT | {"result": "x" * MOST_BYTES, "error": {"detail": "y" * MOST_BYTES}}
    assert decoded(large)["omitted"] == ["result", "error"]
    assert decoded(large)["metadata"] == {"order": "7"}
    assert decoded(DOCUMENT | {"unknown": "z" * MOST_BYTES}).keys() >= {"id", "state", "links", "omitted"}


def test_a_document_that_is_large_without_them_is_an_error() -> None:
    """Rather than a body that receivers refuse."""
    with pytest.raises(ValueError, match="without its result"):
        payload_of("succeeded", 0.0, {"id": "x" * MOST_BYTES})
