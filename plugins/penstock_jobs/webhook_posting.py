"""Sending one webhook: to an address that has been checked, within a time limit, without proxies or redirects."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Final, TypeAlias

import httpx2
import trio

from penstock_jobs.postings import Posting
from penstock_jobs.webhook_addresses import AddressRefused, WebhookTarget

Resolve: TypeAlias = Callable[[str, int], Awaitable[Sequence[str]]]
"""Returns the addresses of a name."""

MOST_ANSWER_BYTES: Final = 4096
"""A longer answer is not read. Nothing depends on its body: it is thrown away."""
ANSWER_SECONDS: Final = 1.0
MOST_ADDRESSES: Final = 4
"""The number of addresses of a name that are tried, when the ones before do not accept a connection."""
CONNECT_SECONDS: Final = 5.0
MOST_LOOKUPS: Final = 256
"""The number of names that are resolved at a time. A resolver that is stuck holds its thread beyond the time limit."""


class WebhookPoster:
    """Sends webhooks. Each has a connection of its own, to one of the addresses that were checked.

    Parameters
    ----------
    timeout:
        Seconds for everything: the resolution of the name, the connection, the request and the answer.
    ca_file:
        Certificates of authorities to trust instead of the system's, in PEM.
    resolve:
        Returns the addresses of a name.

    Raises
    ------
    OSError
        If the file of certificates cannot be read.
    """

    def __init__(self, *, timeout: float = 15.0, ca_file: str | None = None, resolve: Resolve | None = None) -> None:
        self._timeout = timeout
        self._resolve = resolve or self._look_up
        self._lookups = trio.CapacityLimiter(MOST_LOOKUPS)
        self._transport = httpx2.AsyncHTTPTransport(
            verify=True if ca_file is None else ssl.create_default_context(cafile=ca_file),
            trust_env=False,
            # A kept connection would be chosen by its address, so that one receiver got the messages of another.
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=0),
        )

    async def post(self, target: WebhookTarget, headers: Mapping[str, str], body: bytes) -> Posting:
        """Send a webhook. Every failure is in the result."""
        with trio.move_on_after(self._timeout):
            try:
                addresses = await self._resolve(target.host, target.port)
                target.require(addresses)
                return await self._post_to_one(target, list(dict.fromkeys(addresses)), headers, body)
            except AddressRefused as error:
                return Posting(error="the host has an address that webhooks may not be sent to", detail=str(error))
            except (httpx2.TransportError, httpx2.InvalidURL, OSError, UnicodeError, ValueError) as error:
                return Posting(error=_reason(error), detail=f"{type(error).__name__}: {error}")
        return Posting(error=f"no answer within {self._timeout:g} s")

    async def _look_up(self, host: str, port: int) -> Sequence[str]:
        """Return the addresses of a name, in the order of the system's preference."""
        look_up = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
        found = await trio.to_thread.run_sync(look_up, abandon_on_cancel=True, limiter=self._lookups)
        return [str(address[0]) for *_, address in found]

    async def _post_to_one(
        self, target: WebhookTarget, addresses: Sequence[str], headers: Mapping[str, str], body: bytes
    ) -> Posting:
        *earlier, last = addresses[:MOST_ADDRESSES]
        for address in earlier:
            with contextlib.suppress(httpx2.ConnectError, httpx2.ConnectTimeout):
                return await self._post_to(address, target, headers, body)
        return await self._post_to(last, target, headers, body)

    async def _post_to(self, address: str, target: WebhookTarget, headers: Mapping[str, str], body: bytes) -> Posting:
        request = httpx2.Request(
            "POST",
            # The address in place of the name, so that it is not resolved again, to another one.
            target.url.copy_with(host=address),
            headers={"Host": target.url.netloc.decode(), "User-Agent": "penstock", **headers},
            content=body,
            extensions={"sni_hostname": target.host, "timeout": {"connect": CONNECT_SECONDS}},
        )
        # The transport alone: a client would keep cookies, and add what the environment asks for.
        response = await self._transport.handle_async_request(request)
        try:
            await _finish(response)
        finally:
            with trio.CancelScope(shield=True):
                await response.aclose()
        return Posting(status=response.status_code, retry_after=retry_after_in(response.headers))


def retry_after_in(headers: httpx2.Headers) -> float | None:
    """Return the seconds in ``Retry-After``, which may be a date; None if there are none."""
    text = headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    with contextlib.suppress(ValueError):
        at = parsedate_to_datetime(text)
        return max((at.replace(tzinfo=at.tzinfo or UTC) - datetime.now(UTC)).total_seconds(), 0.0)
    return None


async def _finish(response: httpx2.Response) -> None:
    """Read a short answer to its end, so that a well-behaved receiver can write it; leave any other unread."""
    length = response.headers.get("content-length", "")
    if not (length.isascii() and length.isdigit() and len(length) < 9 and int(length) <= MOST_ANSWER_BYTES):
        return
    # The status counts, whatever becomes of the body.
    with contextlib.suppress(httpx2.TransportError), trio.move_on_after(ANSWER_SECONDS):
        async for _ in response.aiter_raw():  # undecoded: 4 KiB may be gigabytes, compressed
            pass


def _reason(error: Exception) -> str:
    if isinstance(error, (httpx2.ConnectError, httpx2.ConnectTimeout)):
        return "the receiver does not accept a connection, or its certificate is not valid"
    if isinstance(error, httpx2.TransportError):
        return "the connection failed before there was an answer"
    return "the name of the host cannot be resolved"
