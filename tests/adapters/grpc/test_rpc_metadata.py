"""Metadata as headers, and headers as metadata."""

from __future__ import annotations

import pytest

from penstock_grpc.rpc_metadata import headers_from, metadata_from, timeout_text


def test_metadata_become_headers() -> None:
    """Repeated ones are joined, and binary ones left out."""
    sent = [("x-a", "1"), ("x-a", "2"), ("x-b-bin", b"\0"), ("user-agent", "grpc")]
    assert headers_from(sent, None) == {"x-a": "1,2", "user-agent": "grpc"}
    assert headers_from(None, None) == {}


def test_a_deadline_is_a_header_too() -> None:
    """Whatever a client has sent under that name, the call's own deadline is there."""
    assert headers_from([("grpc-timeout", "1H")], 1.5) == {"grpc-timeout": "1500m"}


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0m"),
        (0.0019, "1m"),
        (1.0, "1000m"),
        (99_999.0, "99999000m"),
        (200_000.0, "200000S"),
        (1e9, "277777H"),
        (4e11, "99999999H"),
    ],
)
def test_a_timeout_has_at_most_eight_digits(seconds: float, text: str) -> None:
    """It is rounded down, so that it never widens a deadline."""
    assert timeout_text(seconds) == text


def test_only_what_metadata_may_be_is_sent() -> None:
    """Reserved and binary keys, capitals, and values that are not ASCII are left out."""
    headers = [("x-a", "1"), ("grpc-status", "0"), ("x-bin", "1"), ("X-B", "1"), ("x-c", "\u20ac"), ("x-d", "a\nb")]
    assert metadata_from(headers) == [("x-a", "1")]
