"""The codes of errors, as the load generator counts them."""

from __future__ import annotations

import pytest

from penstock_load.error_codes import code_of_body, code_of_stream


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b'{"type": "urn:penstock:queue-full", "status": 503, "error": {"code": "queue-full"}}', "queue-full"),
        (b'{"type": "urn:penstock:queue-full", "status": 503}', "queue-full"),
        (b'{"code": "busy"}', "busy"),
        (b'{"error": {"message": "no", "type": "server_error", "code": null}}', "server_error"),
        (b'{"error": "no"}', ""),
        (b'{"error": {"code": 503}}', ""),
        (b'{"code": "two\\nlines"}', "twolines"),
        (b"[1]", ""),
        (b"<html>", ""),
        (b"\xff", ""),
        (b"", ""),
    ],
)
def test_the_code_of_a_body(body: bytes, code: str) -> None:
    """Problem documents, OpenAI's errors, and anything else without a fault."""
    assert code_of_body(body) == code


@pytest.mark.parametrize(
    ("tail", "code"),
    [
        (b'{"n": 1}\n{"error":{"code":"timeout","message":"late"}}\n', "timeout"),
        (b'data: 1\n\nevent: error\ndata: {"error":{"code":"crashed"}}\n\n', "crashed"),
        (b'data: {"error": {"message": "no"}}\n\ndata: [DONE]\n\n', "error"),
        (b'{"error": 0.25}\n', ""),
        (b"data: 1\n\nevent: end\ndata: {}\n\n", ""),
        (b"", ""),
    ],
)
def test_the_code_of_a_stream(tail: bytes, code: str) -> None:
    """A stream that has failed says so in its last chunk; a handler's own field of that name is not an error."""
    assert code_of_stream(tail) == code
