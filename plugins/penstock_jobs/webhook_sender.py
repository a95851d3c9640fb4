"""The sender of webhooks: takes deliveries that are due from the store, and sends them from a thread of its own.

The rows of the store are the truth. A sender that dies leaves them to another, and what it had sent but not settled is
sent again, with the same ``webhook-id``.
"""

from __future__ import annotations

import contextlib
import logging
import random
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any, Final, TypeAlias
from urllib.parse import urlsplit

import trio

from penstock.errors import PluginError, Unavailable
from penstock.hooks import log_event
from penstock.job_store import JobDelivery, JobNotFound, JobStore, Settlement
from penstock_jobs.delivery_claims import DeliveryClaims, outcome
from penstock_jobs.delivery_lanes import DeliveryLanes
from penstock_jobs.postings import Posting, put_back, put_off, settlement_of
from penstock_jobs.webhook_addresses import AddressRefused, WebhookTarget, target_of
from penstock_jobs.webhook_payloads import payload_of
from penstock_jobs.webhook_posting import WebhookPoster
from penstock_jobs.webhook_settings import WebhookSettings
from penstock_jobs.webhook_signing import message_id_of, secret_source

DocumentOf: TypeAlias = Callable[[JobDelivery], "Future[Mapping[str, Any]]"]
"""Returns the document of a delivery's job; it fails with ``JobNotFound`` if there is none any more."""

POLL_SECONDS: Final = 1.0
"""The interval at which the store is asked without a cause: for deliveries whose time has come, and lost news."""
BUSY_POLL_SECONDS: Final = 0.25
BUSY_SECONDS: Final = 5.0
"""While deliveries that were put off are due again, but for no longer than this, it is asked more often."""
PAUSE_SECONDS: Final = 0.02
"""The shortest time between two questions to the store, however many jobs change."""
MOST_AT_ONCE: Final = 256
STOP_SECONDS: Final = 5.0
_HEADERS: Final = {"Content-Type": "application/json"}


class WebhookSender:
    """Sends the webhooks of one engine.

    Its methods may be called from any thread, and none but ``stop`` waits.

    Parameters
    ----------
    store:
        The store, which has been started.
    owner:
        The engine, as it is registered with the store.
    settings:
        The settings of webhooks, with a secret.
    document_of:
        Returns the document of a delivery's job.
    poster:
        Sends one message. Default: over HTTP.
    clock:
        The wall clock, in Unix seconds.
    chance:
        Returns random numbers from 0 to 1.

    Attributes
    ----------
    owner:
        To be replaced if the engine was found dead, and has registered anew.
    """

    def __init__(
        self,
        store: JobStore,
        owner: str,
        settings: WebhookSettings,
        document_of: DocumentOf,
        *,
        poster: WebhookPoster | None = None,
        clock: Callable[[], float] = time.time,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.owner = owner
        self._store = store
        self._settings = settings
        self._document_of = document_of
        self._poster = poster
        self._clock = clock
        self._chance = chance
        self._lanes = DeliveryLanes(
            concurrency=settings.webhook_concurrency, per_lane=settings.webhook_concurrency_per_host
        )
        self._thread = threading.Thread(target=self._main, name="penstock-webhooks", daemon=True)
        self._is_ready = threading.Event()
        self._token: trio.lowlevel.TrioToken | None = None
        self._ended: Future[None] = Future()
        self._busy_until = 0.0
        self._is_draining = False
        self._is_store_lost = False
        self._claims = DeliveryClaims(store)

    def __repr__(self) -> str:
        state = "new" if self._token is None else "draining" if self._is_draining else "running"
        state = "ended" if self._ended.done() else state
        return f"<WebhookSender of {self.owner}: {state}, {self._lanes.in_flight} on their way>"

    # ---- called by the engine

    def start(self) -> None:
        """Start sending.

        Raises
        ------
        PluginError
            If the secrets or the certificates cannot be read.
        """
        settings = self._settings
        try:
            self._secrets = secret_source(settings.webhook_secret, settings.webhook_secret_file)
            self._secrets()
            self._poster = self._poster or WebhookPoster(
                timeout=settings.webhook_timeout, ca_file=settings.webhook_ca_file
            )
        except (OSError, ValueError) as error:
            raise PluginError(f"webhooks cannot be sent: {error}") from None
        self._thread.start()
        self._is_ready.wait()

    def wake(self) -> None:
        """Ask the store now: a job has changed. Cheap, and may be called without a cause."""
        self._soon(self._wake)

    def drain(self, deadline: float) -> Future[None]:
        """Take no further deliveries, and return a future that is done when all that are on their way have ended.

        Parameters
        ----------
        deadline:
            The instant of ``time.monotonic`` at which they are cut off. They stay in the store, and are sent again.
        """
        self._soon(self._begin_draining, max(deadline - time.monotonic(), 0.0))
        return self._ended

    def stop(self) -> None:
        """Cut everything off, and wait until the thread has ended, which takes milliseconds."""
        self._soon(self._begin_draining, 0.0)
        if self._thread.ident is not None:
            self._thread.join(STOP_SECONDS)

    def _soon(self, function: Callable[..., object], *arguments: object) -> None:
        if self._token is not None:
            with contextlib.suppress(trio.RunFinishedError):
                self._token.run_sync_soon(function, *arguments)

    # ---- the thread

    def _main(self) -> None:
        try:
            trio.run(self._run)
        except BaseException as error:
            log_event(logging.ERROR, "webhooks-failed", f"no webhooks are sent any more: {error!r}")
            self._ended.set_exception(error)
        else:
            self._ended.set_result(None)
        finally:
            self._is_ready.set()

    async def _run(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        self._woken = trio.Event()
        with trio.CancelScope() as self._scope:
            async with trio.open_nursery() as self._nursery:
                self._is_ready.set()
                while not self._is_draining:
                    asked_at = trio.current_time()
                    await self._claim()
                    with trio.move_on_after(BUSY_POLL_SECONDS if asked_at < self._busy_until else POLL_SECONDS):
                        await self._woken.wait()
                    await trio.sleep_until(asked_at + PAUSE_SECONDS)

    def _wake(self) -> None:
        self._woken.set()

    def _begin_draining(self, seconds: float) -> None:
        self._is_draining = True
        self._scope.deadline = min(self._scope.deadline, trio.current_time() + seconds)
        for delivery in self._lanes.clear():
            self._put_back(delivery)
        self._woken.set()

    async def _claim(self) -> None:
        """Take deliveries that are due, and begin to send them."""
        self._woken = trio.Event()  # before the question: news that come after it must not be lost
        number = min(self._lanes.room, MOST_AT_ONCE)
        if number <= 0:
            return
        try:
            claimed = await self._claims.claim(self.owner, number, self._clock())
        except Exception as error:  # whatever was wrong, the next question may have an answer
            self._note_failure(error)
            return
        self._is_store_lost = False
        for delivery in claimed:
            self._accept(delivery)
        self._depart()
        if len(claimed) == number:
            self._woken.set()

    def _accept(self, delivery: JobDelivery) -> None:
        if self._is_draining:
            self._put_back(delivery)
            return
        try:
            lane = self._target_of(delivery).lane
        except AddressRefused as error:  # the operator has changed the settings since
            posting = Posting(error="webhooks may not be sent to this address", detail=str(error))
            self._nursery.start_soon(self._settle, delivery, posting)
            return
        seconds = self._lanes.add(lane, delivery, trio.current_time())
        if seconds is not None:
            self._put_off(delivery, seconds)

    def _depart(self) -> None:
        for lane, delivery in self._lanes.take(trio.current_time()):
            self._nursery.start_soon(self._send, lane, delivery)

    async def _send(self, lane: str, delivery: JobDelivery) -> None:
        began = trio.current_time()
        try:
            posting = await self._posting_of(delivery)
        except trio.Cancelled:
            self._put_back(delivery)
            raise
        now = trio.current_time()
        for waiting, seconds in self._lanes.end(lane, now, seconds=now - began, is_alive=posting.is_alive):
            self._put_off(waiting, seconds)
        self._depart()
        await self._settle(delivery, posting)

    async def _posting_of(self, delivery: JobDelivery) -> Posting:
        """Send a delivery; whatever goes wrong fails this delivery alone."""
        assert self._poster is not None
        try:
            document = await outcome(self._document_of(delivery))
            body = payload_of(delivery.event, delivery.created_at, document)
            headers = self._secrets().headers(message_id_of(delivery), body, self._clock())
            return await self._poster.post(self._target_of(delivery), {**_HEADERS, **headers}, body)
        except JobNotFound:
            return Posting(error="the job has been removed", is_sent=False, is_pointless=True)
        except Exception as error:  # a message that cannot be made must not end the sender
            detail = f"{type(error).__name__}: {error}"
            return Posting(error="the message could not be made", detail=detail, is_sent=False)

    def _target_of(self, delivery: JobDelivery) -> WebhookTarget:
        return target_of(delivery.url, self._settings.webhook_hosts)

    # ---- what is written

    async def _settle(self, delivery: JobDelivery, posting: Posting) -> None:
        settlement = settlement_of(delivery, posting, now=self._clock(), chance=self._chance())
        _log_result(delivery, posting, is_over=settlement.next_at is None)
        await self._write(delivery, settlement)

    def _put_off(self, delivery: JobDelivery, seconds: float) -> None:
        seconds *= 1 + self._chance()
        until = self._clock() + seconds
        self._busy_until = max(self._busy_until, trio.current_time() + min(seconds, BUSY_SECONDS))
        self._nursery.start_soon(self._write, delivery, put_off(delivery, until))

    def _put_back(self, delivery: JobDelivery) -> None:
        # Not awaited: if the store does not answer, it frees the deliveries of an owner that is gone.
        self._store.settle(delivery.id, delivery.claim, put_back(delivery, self._clock()))

    async def _write(self, delivery: JobDelivery, settlement: Settlement) -> None:
        while True:
            try:
                await outcome(self._store.settle(delivery.id, delivery.claim, settlement))
            except Unavailable as error:  # full, or out of order
                self._note_failure(error)
                await trio.sleep(POLL_SECONDS)
            except Exception as error:  # the row stays with this owner, and is freed when it ends
                self._note_failure(error)
                return
            else:
                self._claims.end(delivery)
                return

    def _note_failure(self, error: Exception) -> None:
        if not self._is_store_lost:
            message = f"deliveries of webhooks wait: {type(error).__name__}: {error}"
            log_event(logging.WARNING, "webhooks-wait", message)
        self._is_store_lost = True


def _log_result(delivery: JobDelivery, posting: Posting, *, is_over: bool) -> None:
    if posting.is_delivered or not (is_over or posting.detail):
        return
    # Without the rest of the URL: its path or query may be a secret of the caller's.
    host = _host_of(delivery.url)
    reason = posting.detail or posting.error or f"status {posting.status}"
    level, event, fate = logging.INFO, "webhook-failed", "is sent again later"
    if is_over:
        level, event, fate = logging.WARNING, "webhook-given-up", "is given up"
    message = f"the webhook of job {delivery.job!r} to {host} {fate}: {reason}"
    log_event(level, event, message, job=delivery.job, host=host, sent=delivery.sent)


def _host_of(url: str) -> str:
    with contextlib.suppress(ValueError):
        return urlsplit(url).hostname or ""
    return ""
