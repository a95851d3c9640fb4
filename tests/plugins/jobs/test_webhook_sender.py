"""The sender of webhooks, with receivers on this machine."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from openai import InvalidWebhookSignatureError, OpenAI
from standardwebhooks import Webhook

from penstock.errors import PluginError
from penstock.job_store import JobDelivery, JobNotFound, NewJob, ProgressReport, StoreUnavailable
from penstock.job_store import Webhook as JobWebhook
from penstock.testing import MemoryJobStore
from penstock_jobs.webhook_posting import WebhookPoster
from penstock_jobs.webhook_sender import WebhookSender
from penstock_jobs.webhook_settings import WebhookSettings
from tests.client.scripted_server import Drip, End, Received, ScriptedServer, answer
from tests.plugins.jobs.webhook_bench import SECRET, WebhookBench, gated_receiver
from tests.serving import free_port, wait_until


@pytest.fixture
def bench() -> Iterator[WebhookBench]:
    bench = WebhookBench()
    yield bench
    bench.close()


def resolving_to(*addresses: str) -> WebhookPoster:
    async def resolve(_host: str, _port: int) -> Sequence[str]:
        return addresses

    return WebhookPoster(timeout=5.0, resolve=resolve)


def ids_of(requests: Sequence[Received]) -> set[str]:
    return {request.headers["webhook-id"] for request in requests}


# ---- what is sent


def test_a_webhook_arrives_signed(bench: WebhookBench) -> None:
    """The receiver verifies it with the library of the standard, and the row says that it was delivered."""
    with ScriptedServer([(answer(),)]) as server:
        bench.sender()
        job_id = bench.end_job(f"{server.url}/hook?a=b")
        settled = bench.settled(job_id)
    [request] = server.requests
    payload = Webhook(SECRET).verify(request.body, request.headers)
    assert payload["type"] == "job.cancelled"
    assert payload["data"] == {"id": job_id, "state": "cancelled"}
    assert request.line == "POST /hook?a=b HTTP/1.1"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["host"] == server.url.removeprefix("http://")
    assert (settled.state, settled.status, settled.error) == ("delivered", 200, None)


def test_the_library_of_openai_verifies_a_webhook(bench: WebhookBench) -> None:
    """It checks signatures by the same standard: receivers that have it need no other. It reads the message, too."""
    with ScriptedServer([(answer(),)]) as server:
        bench.sender()
        job_id = bench.end_job(server.url)
        bench.settled(job_id)
    [request] = server.requests
    with OpenAI(api_key="unused") as client:
        event = client.webhooks.unwrap(request.body, request.headers, secret=SECRET)
        assert (event.type, event.data.id) == ("job.cancelled", job_id)
        with pytest.raises(InvalidWebhookSignatureError):
            client.webhooks.unwrap(request.body + b" ", request.headers, secret=SECRET)


def test_a_delivery_that_failed_is_sent_again_with_the_same_id(bench: WebhookBench) -> None:
    """After five seconds, signed anew."""
    with ScriptedServer([(answer(status=500),), (answer(status=204),)]) as server:
        bench.sender()
        job_id = bench.end_job(server.url)
        first = bench.settled(job_id)
        assert (first.state, first.status) == ("waiting", 500)
        assert first.next_at - bench.clock() == pytest.approx(5.0, abs=1.0)
        bench.pass_time(6)
        assert bench.settled(job_id, sent=2).state == "delivered"
    assert len(ids_of(server.requests)) == 1
    times = [int(request.headers["webhook-timestamp"]) for request in server.requests]
    assert times[1] - times[0] >= 5
    for request in server.requests:
        Webhook(SECRET).verify(request.body, request.headers)


def test_after_a_restart_the_id_is_the_same(bench: WebhookBench) -> None:
    """The row is the truth: another sender of another owner goes on with it."""
    with ScriptedServer([(answer(status=503),), (answer(),)]) as server:
        bench.sender(owner="one")
        job_id = bench.end_job(server.url)
        bench.settled(job_id)
        bench.senders.pop().stop()
        bench.store.remove("one", now=bench.clock()).result()
        bench.sender(owner="two")
        bench.pass_time(6)
        assert bench.settled(job_id, sent=2).state == "delivered"
    assert len(server.requests) == 2
    assert len(ids_of(server.requests)) == 1


def test_a_sender_that_dies_while_it_sends_loses_nothing(bench: WebhookBench) -> None:
    """Its owner is removed, and another one sends the message again, with the same id."""
    with ScriptedServer([(End.SILENCE,), (answer(),)]) as server:
        bench.sender(owner="one")
        job_id = bench.end_job(server.url)
        wait_until(lambda: server.requests, "a request")
        bench.store.remove("one", now=bench.clock()).result()
        bench.sender(owner="two")
        assert bench.settled(job_id, sent=2).state == "delivered"
    assert len(ids_of(server.requests)) == 1


def test_a_secret_is_replaced_while_the_sender_runs(bench: WebhookBench, tmp_path: Path) -> None:
    """While both are in the file, receivers may verify with either."""
    new = "whsec_" + base64.b64encode(b"n" * 24).decode()
    path = tmp_path / "secret"
    path.write_text(SECRET)
    with ScriptedServer([(answer(),)]) as server:
        bench.sender(webhook_secret_file=str(path))
        for secrets in (SECRET, f"{new} {SECRET}", new):
            path.write_text(secrets)
            bench.settled(bench.end_job(server.url))
        path.write_text("damaged")
        failed = bench.settled(bench.end_job(server.url))
    before, both, after = server.requests
    for request, secret in ((before, SECRET), (both, SECRET), (both, new), (after, new)):
        Webhook(secret).verify(request.body, request.headers)
    assert (failed.state, failed.error) == ("waiting", "the message could not be made")


# ---- receivers that fail


def test_a_slow_receiver_is_cut_off(bench: WebhookBench) -> None:
    """The limit is over everything: an answer that comes byte by byte does not extend it."""
    script = [(End.SILENCE,), (Drip(b"HTTP/1.1 200 OK\r\n\r\n", 0.1),)]
    with ScriptedServer(list(script)) as server:
        bench.sender(timeout=0.4)
        jobs = [bench.end_job(server.url), bench.end_job(server.url)]
        began = time.monotonic()
        for job_id in jobs:
            settled = bench.settled(job_id)
            assert (settled.state, settled.error) == ("waiting", "no answer within 0.4 s")
        assert time.monotonic() - began < 5


def test_a_redirect_is_a_failure(bench: WebhookBench) -> None:
    """It is not followed: the target was not checked."""
    with (
        ScriptedServer([(answer(),)]) as target,
        ScriptedServer([(answer(status=307, Location=target.url),)]) as server,
    ):
        bench.sender()
        settled = bench.settled(bench.end_job(server.url))
        assert (settled.state, settled.status) == ("waiting", 307)
        assert target.connections == 0


def test_gone_ends_a_delivery(bench: WebhookBench) -> None:
    """With 410 a receiver asks for no more of it."""
    with ScriptedServer([(answer(status=410),)]) as server:
        bench.sender()
        settled = bench.settled(bench.end_job(server.url))
    assert (settled.state, settled.status) == ("failed", 410)


def test_retry_after_is_obeyed(bench: WebhookBench) -> None:
    """The receiver is left alone for as long as it asks."""
    with ScriptedServer([(answer(status=429, Retry_After="120"),)]) as server:
        bench.sender()
        settled = bench.settled(bench.end_job(server.url))
    assert settled.next_at - bench.clock() == pytest.approx(120, abs=2)


def test_an_endless_answer_is_not_read(bench: WebhookBench) -> None:
    """The status counts; a body over 4 KiB is not read, and the connection is closed."""
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 10737418240\r\n\r\n"
    with ScriptedServer([(head, b"x" * (32 << 20), End.SILENCE)]) as server:
        bench.sender()
        assert bench.settled(bench.end_job(server.url)).state == "delivered"
        assert server.hang_ups == []  # the server never got rid of the first 32 MiB


def test_a_short_answer_is_read_to_its_end(bench: WebhookBench) -> None:
    """The receiver can write it before the connection is closed."""
    with ScriptedServer([(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n", 0.1, b"done", End.SILENCE)]) as server:
        bench.sender()
        assert bench.settled(bench.end_job(server.url)).state == "delivered"
        wait_until(lambda: server.hang_ups, "the end of the connection, after the body")


def test_an_answer_whose_body_never_comes_is_an_answer(bench: WebhookBench) -> None:
    """After a second at most."""
    with ScriptedServer([(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", End.SILENCE)]) as server:
        bench.sender(timeout=4.0)
        assert bench.settled(bench.end_job(server.url)).state == "delivered"


@pytest.mark.parametrize("garbage", [b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 2000 What\r\n\r\n", b"\x00" * 100])
def test_an_answer_that_is_not_http_is_a_failure(bench: WebhookBench, garbage: bytes) -> None:
    """Not of the sender: the next message is sent."""
    with ScriptedServer([(garbage, End.CLOSE), (answer(),)]) as server:
        bench.sender()
        settled = bench.settled(bench.end_job(server.url))
        assert (settled.state, settled.status) == ("waiting", None)
        assert bench.settled(bench.end_job(server.url)).state == "delivered"


def test_a_dead_receiver_gets_a_pause(bench: WebhookBench) -> None:
    """After five failures the other deliveries are put off, without being sent."""
    url = f"http://127.0.0.1:{free_port()}/"
    bench.sender()
    jobs = [bench.end_job(url) for _ in range(5)]
    assert {bench.settled(job_id).error for job_id in jobs} == {
        "the receiver does not accept a connection, or its certificate is not valid"
    }
    late = bench.settled(bench.end_job(url))
    assert late.error is not None
    assert late.error.startswith("put off")
    assert late.next_at - bench.clock() == pytest.approx(30, abs=5)


def test_deliveries_that_wait_for_a_dead_receiver_go_back_to_the_store(bench: WebhookBench) -> None:
    """Those that are held when it is found dead, too; another sender may have more luck with them."""
    url = f"http://127.0.0.1:{free_port()}/"
    jobs = [bench.end_job(url) for _ in range(8)]
    bench.sender(webhook_concurrency_per_host=1)
    errors = [bench.settled(job_id).error or "" for job_id in jobs]
    assert [error.startswith("put off") for error in errors].count(True) == 3


def test_an_idle_sender_leaves_the_store_alone() -> None:
    """News of a job cause one question, and not one after the other."""
    bench, questions = WebhookBench(), []
    store = MemoryJobStore(bench.database, before_statement=questions.append)
    store.start(lambda _: None)
    sender = bench.sender(store=store)
    wait_until(lambda: questions, "the first question")
    for _ in range(3):
        sender.wake()
    time.sleep(0.5)
    assert questions.count("ready_deliveries") <= 4
    bench.close()


def test_the_log_names_the_job_and_the_host_only(bench: WebhookBench, caplog: pytest.LogCaptureFixture) -> None:
    """The rest of a URL may be a secret of the caller's."""
    caplog.set_level("INFO", logger="penstock")
    with ScriptedServer([(answer(status=410),)]) as server:
        bench.sender()
        job_id = bench.end_job(f"{server.url}/path-of-the-caller?token=of-the-caller")
        bench.settled(job_id)
    assert f"the webhook of job {job_id!r} to 127.0.0.1 is given up: status 410" in caplog.text
    assert "of-the-caller" not in caplog.text
    assert SECRET not in caplog.text


# ---- fairness


def test_a_host_gets_four_at_once(bench: WebhookBench) -> None:
    """However many are due."""
    with gated_receiver() as receiver:
        bench.sender()
        jobs = [bench.end_job(receiver.url) for _ in range(12)]
        wait_until(lambda: receiver.at_once == 4, "four at once")
        receiver.gate.set()
        assert {bench.settled(job_id).state for job_id in jobs} == {"delivered"}
        assert receiver.most_at_once == 4


def test_a_dead_receiver_delays_no_other(bench: WebhookBench) -> None:
    """Three hundred deliveries to a receiver that never answers are older, and the one to another arrives at once."""
    with gated_receiver() as dead, ScriptedServer([(answer(),)]) as server:
        for _ in range(300):
            bench.end_job(dead.url)
        job_id = bench.end_job(server.url)
        bench.sender(timeout=60.0)
        assert bench.settled(job_id).state == "delivered"
        wait_until(lambda: dead.at_once == 4, "all places of the receiver's lane")
        assert dead.most_at_once == 4


# ---- addresses


@pytest.mark.parametrize("addresses", [("10.0.0.1",), ("93.184.215.14", "127.0.0.1"), ("::ffff:127.0.0.1",), ()])
def test_a_name_with_a_private_address_is_refused(bench: WebhookBench, addresses: tuple[str, ...]) -> None:
    """Although it has a public one too; nothing is connected, and the reason shows the caller no address."""
    with ScriptedServer([(answer(),)]) as server:
        bench.sender(hosts=(), poster=resolving_to(*addresses))
        settled = bench.settled(bench.end_job(server.url.replace("http://127.0.0.1", "https://hooks.example.org")))
        assert settled.state == "waiting"
        assert settled.error == "the host has an address that webhooks may not be sent to"
        assert server.connections == 0


def test_the_checked_address_is_the_one_that_is_connected(bench: WebhookBench) -> None:
    """The name is resolved once for each sending, so a second answer of the resolver has no effect."""
    answers: list[list[str]] = [["127.0.0.1"], ["169.254.169.254"]]

    async def resolve(_host: str, _port: int) -> Sequence[str]:
        return answers.pop(0)

    with ScriptedServer([(answer(),)]) as server:
        bench.sender(hosts=("hooks.internal",), poster=WebhookPoster(resolve=resolve))
        settled = bench.settled(bench.end_job(server.url.replace("127.0.0.1", "hooks.internal")))
    assert settled.state == "delivered"
    assert len(answers) == 1
    assert server.requests[0].headers["host"].startswith("hooks.internal:")


def test_the_next_address_is_used_if_one_accepts_no_connection(bench: WebhookBench) -> None:
    """A host may have an IPv6 address that cannot be reached from here."""
    with ScriptedServer([(answer(),)]) as server:
        bench.sender(hosts=("hooks.internal",), poster=resolving_to("127.0.0.2", "127.0.0.1"))
        url = server.url.replace("127.0.0.1", "hooks.internal")
        assert bench.settled(bench.end_job(url)).state == "delivered"


def test_a_host_that_is_no_longer_listed_gets_nothing(bench: WebhookBench) -> None:
    """The rules are those of now, and not of the time when the job was stored."""
    with ScriptedServer([(answer(),)]) as server:
        bench.sender(hosts=())
        settled = bench.settled(bench.end_job(server.url))
        assert (settled.state, settled.error) == ("waiting", "webhooks may not be sent to this address")
        assert server.connections == 0


def test_the_environment_has_no_say(bench: WebhookBench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy would resolve the name again, elsewhere."""
    with ScriptedServer([(answer(),)]) as server, ScriptedServer([(answer(),)]) as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        bench.sender()
        assert bench.settled(bench.end_job(server.url)).state == "delivered"
        assert proxy.connections == 0


def test_cookies_are_not_kept(bench: WebhookBench) -> None:
    """One caller's receiver must not set headers of another's messages."""
    with ScriptedServer([(answer(Set_Cookie="a=b; Path=/"),)]) as server:
        bench.sender()
        for _ in range(2):
            bench.settled(bench.end_job(server.url))
    assert "cookie" not in server.requests[1].headers


# ---- the store, the start and the end


def test_a_store_that_does_not_answer_is_asked_again() -> None:
    """The deliveries wait; the sender survives."""
    bench = WebhookBench()
    failures = ["ready_deliveries", "find_delivery"]

    def before(statement: str) -> None:
        if statement in failures:
            failures.remove(statement)
            raise StoreUnavailable("out of order")

    store = MemoryJobStore(bench.database, before_statement=before)
    store.start(lambda _: None)
    with ScriptedServer([(answer(),)]) as server:
        bench.sender(store=store)
        assert bench.settled(bench.end_job(server.url)).state == "delivered"
    assert failures == []
    bench.close()


def test_a_job_that_is_gone_ends_its_deliveries(bench: WebhookBench, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is nothing left to report."""

    def gone(_: JobDelivery) -> Future[Mapping[str, Any]]:
        future: Future[Mapping[str, Any]] = Future()
        future.set_exception(JobNotFound("no such job"))
        return future

    monkeypatch.setattr(bench, "document_of", gone)
    bench.sender()
    assert bench.settled(bench.end_job("http://127.0.0.1:1/")).state == "failed"


def test_progress_is_sent_once(bench: WebhookBench) -> None:
    """The next report makes it worthless, so it is never repeated."""
    with ScriptedServer([(answer(status=500),)]) as server:
        bench.sender()
        job_id = bench.end_job(server.url, "progress")
        assert bench.store.deliveries(job_id).result() == []
        job = NewJob(id="p", endpoint="e", webhook=JobWebhook(server.url, ("progress",)))
        bench.store.put([job], now=bench.clock()).result()
        [claimed] = bench.store.claim("one", "e", 1, now=bench.clock()).result()
        bench.store.started(claimed.key, now=bench.clock()).result()
        bench.store.report(claimed.key, [ProgressReport(1)], now=bench.clock()).result()
        assert bench.settled("p").state == "failed"


def test_draining_lets_messages_arrive_and_takes_no_more(bench: WebhookBench) -> None:
    """Deliveries that waited stay in the store for another sender."""
    with gated_receiver() as receiver:
        sender = bench.sender()
        jobs = [bench.end_job(receiver.url) for _ in range(6)]
        wait_until(lambda: receiver.at_once == 4, "four at once")
        ended = sender.drain(time.monotonic() + 30)
        wait_until(lambda: [bench.delivery(job).state for job in jobs].count("waiting") == 2, "two put back")
        assert not ended.done()
        receiver.gate.set()
        ended.result(timeout=10)
        late = bench.end_job(receiver.url)
    states = [bench.delivery(job_id).state for job_id in (*jobs, late)]
    assert (states.count("delivered"), states.count("waiting")) == (4, 3)
    assert repr(sender) == "<WebhookSender of one: ended, 0 on their way>"


def test_what_has_not_arrived_at_the_deadline_stays_in_the_store(bench: WebhookBench) -> None:
    """It is due at once for another sender."""
    with gated_receiver() as receiver:
        sender = bench.sender()
        job_id = bench.end_job(receiver.url)
        wait_until(lambda: receiver.at_once == 1, "a request")
        sender.drain(time.monotonic()).result(timeout=10)
        assert bench.delivery(job_id).state == "waiting"
        assert bench.delivery(job_id).next_at <= bench.clock()


def test_a_sender_that_cannot_sign_does_not_start(tmp_path: Path, bench: WebhookBench) -> None:
    """The server stops at the start, with the reason, and not at the first message."""
    settings = WebhookSettings(webhook_secret_file=str(tmp_path / "missing"))
    sender = WebhookSender(bench.store, "one", settings, bench.document_of)
    with pytest.raises(PluginError, match=r"webhooks cannot be sent: .*missing"):
        sender.start()
    sender.stop()
    with pytest.raises(PluginError, match="webhooks cannot be sent"):
        WebhookSender(
            bench.store,
            "one",
            WebhookSettings(webhook_secret=SECRET, webhook_ca_file=str(tmp_path / "missing.pem")),
            bench.document_of,
        ).start()


def test_a_large_document_arrives_without_its_result(bench: WebhookBench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The body has at most 20 KB, with the address of the result."""

    def large(delivery: JobDelivery) -> Future[Mapping[str, Any]]:
        future: Future[Mapping[str, Any]] = Future()
        future.set_result({"id": delivery.job, "result": "x" * 60_000, "links": {"result": "/v1/jobs/x/result"}})
        return future

    monkeypatch.setattr(bench, "document_of", large)
    with ScriptedServer([(answer(),)]) as server:
        bench.sender()
        assert bench.settled(bench.end_job(server.url)).state == "delivered"
    data = json.loads(server.requests[0].body)["data"]
    assert data["result_url"] == "/v1/jobs/x/result"
    assert len(server.requests[0].body) < 20_000


def test_the_resolver_of_the_system_is_the_default(bench: WebhookBench) -> None:
    """A name of this machine is resolved to the loopback address."""
    with ScriptedServer([(answer(),)]) as server:
        bench.sender(hosts=("localhost",))
        settled = bench.settled(bench.end_job(server.url.replace("127.0.0.1", "localhost")))
        assert settled.state == "delivered"


def test_a_resolver_that_is_stuck_holds_up_one_delivery(bench: WebhookBench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time limit includes the resolution, although its thread cannot be stopped."""
    released = threading.Event()
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: released.wait(30) and [])
    bench.sender(hosts=("hooks.internal",), timeout=0.3)
    settled = bench.settled(bench.end_job("http://hooks.internal/"))
    assert (settled.state, settled.error) == ("waiting", "no answer within 0.3 s")
    released.set()
