"""A store, receivers and a sender of webhooks, for tests."""

from __future__ import annotations

import base64
import contextlib
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any

from penstock.job_store import JobDelivery, NewJob, StoreOwner, Webhook
from penstock.testing import MemoryDatabase, MemoryJobStore
from penstock_jobs.webhook_posting import WebhookPoster
from penstock_jobs.webhook_sender import WebhookSender
from penstock_jobs.webhook_settings import WebhookSettings
from tests.serving import wait_until

SECRET = "whsec_" + base64.b64encode(b"s" * 24).decode()
LOOPBACK = ("127.0.0.1",)


class WebhookBench:
    """One database, one clock, and senders on them."""

    def __init__(self) -> None:
        self.advance = 0.0
        self.is_lost = False
        self.database = MemoryDatabase()
        self.store = MemoryJobStore(self.database)
        self.store.start(lambda _: None)
        self.senders: list[WebhookSender] = []
        self._jobs = 0

    def clock(self) -> float:
        return time.time() + self.advance

    def sender(
        self,
        *,
        owner: str = "one",
        hosts: tuple[str, ...] = LOOPBACK,
        poster: WebhookPoster | None = None,
        timeout: float = 5.0,
        store: MemoryJobStore | None = None,
        **settings: Any,
    ) -> WebhookSender:
        """Return a sender that has been started, of an owner that has been registered."""
        secret = {} if "webhook_secret_file" in settings else {"webhook_secret": SECRET}
        self.store.register(StoreOwner(owner), now=self.clock()).result()
        sender = WebhookSender(
            store or self.store,
            owner,
            WebhookSettings(webhook_hosts=hosts, webhook_timeout=timeout, **secret, **settings),
            self.document_of,
            poster=poster,
            clock=self.clock,
            chance=lambda: 0.0,
        )
        sender.start()
        self.senders.append(sender)
        return sender

    def document_of(self, delivery: JobDelivery) -> Future[Mapping[str, Any]]:
        future: Future[Mapping[str, Any]] = Future()
        future.set_result({"id": delivery.job, "state": "cancelled"})
        return future

    def end_job(self, url: str, *events: str) -> str:
        """Store a job with a webhook and cancel it; return its id."""
        self._jobs += 1
        job_id = f"job{self._jobs}"
        webhook = Webhook(url, events) if events else Webhook(url)
        self.store.put([NewJob(id=job_id, endpoint="e", webhook=webhook)], now=self.clock()).result()
        self.store.cancel(job_id, now=self.clock()).result()
        for sender in self.senders:
            sender.wake()
        return job_id

    def delivery(self, job_id: str) -> JobDelivery:
        [delivery] = self.store.deliveries(job_id).result()
        return delivery

    def settled(self, job_id: str, sent: int = 1) -> JobDelivery:
        """Return the delivery of a job once it has been sent this many times."""

        def look() -> JobDelivery | None:
            delivery = self.delivery(job_id)
            return delivery if delivery.sent >= sent and delivery.state != "sending" else None

        return wait_until(look, f"delivery of {job_id}, sent {sent} times")

    def pass_time(self, seconds: float) -> None:
        """Move the wall clock, and have the senders look."""
        self.advance += seconds
        for sender in self.senders:
            sender.wake()

    def close(self) -> None:
        for sender in self.senders:
            sender.stop()
        self.store.close()


@dataclass
class GatedReceiver:
    """A receiver that answers once its gate is open."""

    gate: Event = field(default_factory=Event)
    at_once: int = 0
    most_at_once: int = 0
    requests: int = 0
    url: str = ""

    def answer(self) -> None:
        self.requests += 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        self.gate.wait(30)
        self.at_once -= 1


@contextlib.contextmanager
def gated_receiver() -> Iterator[GatedReceiver]:
    receiver = GatedReceiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            receiver.answer()
            with contextlib.suppress(OSError):
                self.send_response(204)
                self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    receiver.url = f"http://127.0.0.1:{server.server_address[1]}/hook"
    thread = Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        receiver.gate.set()
        server.shutdown()
        server.server_close()
        thread.join()
