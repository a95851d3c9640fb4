"""Webhooks and schedules over a store in a file, whose calls end on threads of its own."""

from __future__ import annotations

import time
from collections.abc import Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from penstock.hooks import Schedule
from penstock.job_store import JobDelivery, JobQuery, NewJob, StoreOwner, Webhook
from penstock_jobs import SqliteJobStore
from penstock_jobs.schedule_runner import ScheduleRunner
from penstock_jobs.webhook_sender import WebhookSender
from penstock_jobs.webhook_settings import WebhookSettings
from tests.client.scripted_server import ScriptedServer, answer
from tests.plugins.jobs.webhook_bench import SECRET, gated_receiver
from tests.serving import wait_until

SETTINGS = WebhookSettings(webhook_secret=SECRET, webhook_hosts=("127.0.0.1",))


def document_of(delivery: JobDelivery) -> Future[Mapping[str, Any]]:
    future: Future[Mapping[str, Any]] = Future()
    future.set_result({"id": delivery.job})
    return future


class Server:
    """A store that is open, and the sender of its owner."""

    def __init__(self, path: Path, owner: str, advance: float = 0.0) -> None:
        self.store = SqliteJobStore(path)
        self.owner = owner
        self.sender = WebhookSender(
            self.store, owner, SETTINGS, document_of, clock=lambda: time.time() + advance, chance=lambda: 0.0
        )
        self.store.start(lambda _: self.sender.wake())
        self.store.register(StoreOwner(owner), now=time.time()).result()
        self.sender.start()

    def end_job(self, job_id: str, url: str) -> None:
        self.store.put([NewJob(id=job_id, endpoint="e", webhook=Webhook(url))], now=time.time()).result()
        self.store.cancel(job_id, now=time.time()).result()

    def delivery(self, job_id: str) -> JobDelivery:
        [delivery] = self.store.deliveries(job_id).result()
        return delivery

    def wait_for(self, job_id: str, state: str, sent: int) -> JobDelivery:
        def look() -> JobDelivery | None:
            delivery = self.delivery(job_id)
            return delivery if (delivery.state, delivery.sent) == (state, sent) else None

        found = wait_until(look, f"{job_id} {state}, sent {sent} times")
        assert found is not None
        return found

    def close(self) -> None:
        self.sender.drain(time.monotonic() + 5).result(timeout=10)
        self.store.remove(self.owner, now=time.time()).result()
        self.store.close()


def test_a_delivery_goes_on_after_a_restart(tmp_path: Path) -> None:
    """From the row in the file, with the same id."""
    with ScriptedServer([(answer(status=500),), (answer(),)]) as receiver:
        first = Server(tmp_path / "jobs.db", "one")
        first.end_job("a", receiver.url)
        first.wait_for("a", "waiting", 1)
        first.close()
        second = Server(tmp_path / "jobs.db", "two", advance=6.0)
        second.wait_for("a", "delivered", 2)
        second.close()
    assert len({request.headers["webhook-id"] for request in receiver.requests}) == 1


def test_two_senders_send_each_delivery_once(tmp_path: Path) -> None:
    """A delivery is handed to one of them."""
    with gated_receiver() as receiver:
        receiver.gate.set()
        servers = [Server(tmp_path / "jobs.db", owner) for owner in ("one", "two")]
        for number in range(40):
            servers[number % 2].end_job(f"job{number}", receiver.url)
        for number in range(40):
            wait_until(lambda n=number: servers[0].delivery(f"job{n}").state == "delivered", f"job{number}")
        for server in servers:
            server.close()
        assert receiver.requests == 40


def test_two_engines_store_one_job_for_each_time(tmp_path: Path) -> None:
    """The file decides which of them was first."""
    schedule = Schedule("often", "* * * * *", "e", b"null", "Europe/Berlin")
    clock = [1_800_000_000.0]
    stores = [SqliteJobStore(tmp_path / "jobs.db") for _ in range(2)]
    for store in stores:
        store.start(lambda _: None)
    runners = [ScheduleRunner(store, [schedule], clock=lambda: clock[0]) for store in stores]
    for _ in range(10):
        for runner in runners:
            runner.step()
        clock[0] += 30.0
    jobs = stores[0].list_jobs(JobQuery(group="schedule:often")).result().jobs
    assert len(jobs) == len({job.id for job in jobs}) == 4
    late = ScheduleRunner(stores[1], [schedule], clock=lambda: clock[0] + 3600)
    late.step()
    assert len(stores[0].list_jobs(JobQuery(group="schedule:often")).result().jobs) == 5
    for store in stores:
        store.close()
