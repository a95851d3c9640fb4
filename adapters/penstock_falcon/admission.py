"""What is asked of a request before its body is read, and of the body before it becomes a job."""

from __future__ import annotations

import itertools
import os
import re

from penstock import Endpoint
from penstock.errors import MalformedRequest, PayloadTooLarge, UnsupportedMediaType
from penstock_falcon.answers import JSON

# Larger bodies are looked at by the worker alone: reading them here would hold up everybody else's request.
VALIDATED_HERE_BYTES = 64 * 1024
# No body is longer than this many digits say, and int() refuses thousands of digits with an error of its own.
_LENGTH_DIGITS = 18

_is_sane_id = re.compile(r"[A-Za-z0-9._~:/+=@-]{1,128}").fullmatch
_id_numbers = itertools.count(1)
_id_prefix = ""


def _renew_id_prefix() -> None:
    """Not shared by two processes: each fork has one of its own."""
    global _id_prefix  # noqa: PLW0603 - a lookup of the pid for every request would be a system call
    _id_prefix = os.urandom(6).hex()


_renew_id_prefix()
os.register_at_fork(after_in_child=_renew_id_prefix)


def request_id(given: str | None) -> str:
    """The caller's own id if it is sane, else a new one: unique, not secret."""
    if given is not None and _is_sane_id(given):
        return given
    return f"{_id_prefix}-{next(_id_numbers):x}"


class Gate:
    """The checks of one endpoint, which are the same for ASGI and WSGI.

    Parameters
    ----------
    endpoint:
        Whose requests pass here.
    max_body:
        Most bytes of a body.
    """

    __slots__ = ("_endpoint", "_max_body", "_reads_json")

    def __init__(self, endpoint: Endpoint, max_body: int) -> None:
        self._endpoint = endpoint
        self._max_body = max_body
        self._reads_json = endpoint.codec.reads == "json"

    def check_headers(self, content_type: str | None, encoding: str | None, length: str | None) -> int | None:
        """Return the announced length of the body in bytes, or None where there is none.

        Raises
        ------
        UnsupportedMediaType
            For a content type that the endpoint does not read, or a compressed body.
        PayloadTooLarge
            If more is announced than is allowed.
        MalformedRequest
            If the length is no number.
        """
        if content_type is not None and self._reads_json and content_type != JSON and not _is_json(content_type):
            raise UnsupportedMediaType(
                f"{self._endpoint.path} reads JSON, not {content_type!r}: send it with "
                "-H 'Content-Type: application/json'"
            )
        if encoding is not None and encoding.strip().lower() not in ("identity", ""):
            raise UnsupportedMediaType(f"Content-Encoding {encoding!r} is not read here: send the body uncompressed")
        return None if length is None else self._check_length(length)

    def _check_length(self, length: str) -> int:
        if not (length.isascii() and length.isdigit()):
            raise MalformedRequest(f"Content-Length {length[:40]!r} is not a number of bytes")
        if len(length) > _LENGTH_DIGITS:
            raise self.too_large()
        size_bytes = int(length)
        if size_bytes > self._max_body:
            raise self.too_large()
        return size_bytes

    def check_size(self, size_bytes: int) -> None:
        """Raise ``PayloadTooLarge`` as soon as a body of unknown length has passed the limit."""
        if size_bytes > self._max_body:
            raise self.too_large()

    def too_large(self) -> PayloadTooLarge:
        """The error that names the limit."""
        return PayloadTooLarge(f"The body may have at most {self._max_body} bytes")

    def check_body(self, body: bytes, announced: int | None) -> None:
        """Check a body that is there in full.

        Raises
        ------
        MalformedRequest, InvalidRequest
            If it is cut short, cannot be read, or does not fit the endpoint's schema.
        """
        if announced is not None and len(body) < announced:
            raise cut_short()
        if len(body) <= VALIDATED_HERE_BYTES:
            self._endpoint.codec.validate(body)


def cut_short() -> MalformedRequest:
    """The error for an upload that ended too early."""
    return MalformedRequest("The body ended before it was complete")


def _is_json(content_type: str) -> bool:
    media_type = content_type.partition(";")[0].strip().lower()
    return media_type == JSON or (media_type.startswith("application/") and media_type.endswith("+json"))
