"""Claims, and deliveries, that the store has handed out with an answer that was lost on its way."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import pytest

from penstock.job_store import StoreUnavailable
from penstock.testing import MemoryJobStore
from penstock_jobs.unheard_claims import UnheardClaims
from tests.client.scripted_server import ScriptedServer, answer
from tests.plugins.jobs.test_job_service import Outage, Scene, with_outage
from tests.plugins.jobs.webhook_bench import WebhookBench
from tests.serving import wait_until


def lose_answers(monkeypatch: pytest.MonkeyPatch, store: MemoryJobStore, name: str, number: int = 1) -> list[Any]:
    """Lose the first answers of a call that have something in them; return these, to which each is added."""
    call: Callable[..., Future[Any]] = getattr(store, name)
    lost: list[Any] = []

    def call_and_lose(*arguments: Any, **options: Any) -> Future[Any]:
        future = call(*arguments, **options)
        if len(lost) == number or future.exception() is not None or not future.result():
            return future
        lost.append(future.result())
        cut: Future[Any] = Future()
        cut.set_exception(StoreUnavailable("the connection was cut"))
        return cut

    monkeypatch.setattr(store, name, call_and_lose)
    return lost


def test_a_job_whose_claim_had_no_answer_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """At once, and not when this engine ends; the lost claim does not count, and no other job is touched."""
    scene = Scene().start()
    scene.put("known")
    lost = lose_answers(monkeypatch, scene.store, "claim")
    scene.put("a")
    assert len(lost) == 1
    scene.engine.advance(1.1)
    assert [call.submission.job_id for call in scene.engine.calls] == ["known", "a"]
    assert (scene.job("a").claim, scene.job("a").claims) == (2, 1)
    assert (scene.job("known").claim, scene.job("known").state) == (1, "running")
    scene.service.stop()


def test_a_job_whose_claim_had_no_answer_waits_for_the_database(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is put back by the first call that the store answers again, and nothing is claimed before."""
    scene, outage = with_outage()
    lost = lose_answers(monkeypatch, scene.store, "claim")
    with monkeypatch.context() as patch:
        cut_after(patch, scene, outage)
        scene.put("a")
    assert len(lost) == 1
    scene.engine.advance(10)
    assert (scene.states(), scene.engine.calls) == ({"a": "running"}, [])
    outage.is_out = False
    scene.engine.advance(6)
    assert [call.submission.claim for call in scene.engine.calls] == [2]
    scene.service.stop()


def cut_after(patch: pytest.MonkeyPatch, scene: Scene, outage: Outage) -> None:
    """Have the database go away right after the next claim."""
    claim = scene.store.claim

    def claim_and_cut(*arguments: Any, **options: Any) -> Any:
        future = claim(*arguments, **options)
        outage.is_out = True
        return future

    patch.setattr(scene.store, "claim", claim_and_cut)


def test_a_job_that_could_not_be_given_back_runs_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer to its claim came after half a lease, and the database was away when the job was to be given back."""
    scene, outage = with_outage()
    claim = scene.store.claim
    late: list[tuple[Future[Any], Future[Any]]] = []

    def claim_late(*arguments: Any, **options: Any) -> Future[Any]:
        late.append((claim(*arguments, **options), Future()))
        return late[-1][1]

    with monkeypatch.context() as patch:
        patch.setattr(scene.store, "claim", claim_late)
        scene.put("a")
    [(made, heard)] = late
    outage.is_out = True
    scene.engine.advance(16)
    heard.set_result(made.result())
    scene.engine.advance(1)
    assert (scene.states(), scene.engine.calls) == ({"a": "running"}, [])
    outage.is_out = False
    scene.engine.advance(6)
    assert [call.submission.claim for call in scene.engine.calls] == [2]
    scene.service.stop()


def test_the_store_is_asked_once_no_claim_is_under_way() -> None:
    """It could not tell a claim under way from a lost one. Until it has answered it is not asked again."""
    asked: list[Future[int]] = []
    answers: list[tuple[Any, Any]] = []

    def ask() -> Future[int]:
        asked.append(Future())
        return asked[-1]

    unheard = UnheardClaims(ask, lambda _future, done, failed: answers.append((done, failed)))
    unheard.begin()
    unheard.begin()
    unheard.end(StoreUnavailable("the connection was cut"))
    unheard.settle()
    assert (unheard.may_exist, asked) == (True, [])
    unheard.end(None)
    unheard.settle()
    unheard.settle()
    assert len(asked) == 1
    answers[0][1](StoreUnavailable("still"))
    unheard.settle()
    assert len(asked) == 2
    answers[1][0](1)
    assert not unheard.may_exist


def test_a_delivery_whose_claim_had_no_answer_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the same sender, at once."""
    bench = WebhookBench()
    lost = lose_answers(monkeypatch, bench.store, "claim_deliveries")
    with ScriptedServer([(answer(),)]) as server:
        bench.sender()
        job_id = bench.end_job(server.url)
        wait_until(lambda: bench.delivery(job_id).state == "delivered", "the delivery")
        assert len(lost) == 1
        assert len(server.requests) == 1
    bench.close()
