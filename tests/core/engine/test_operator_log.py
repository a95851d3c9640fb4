"""The operator log: what it repeats, and what it does not."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from penstock.engine.operator_log import OperatorLog, log_failure
from penstock.errors import HandlerError
from penstock.scheduler import reports


def test_the_same_failed_start_is_shown_once(caplog: pytest.LogCaptureFixture) -> None:
    """A model that cannot be loaded fails in each worker of each pool: its traceback is in the first line alone."""
    log = OperatorLog(lambda: 0.0, lambda _worker: 1)
    worker = cast("Any", SimpleNamespace(id=1, place=SimpleNamespace(name="sick/0")))
    pool = cast("Any", SimpleNamespace(name="sick"))

    def fail(error: str) -> tuple[str, bool]:
        log.report(reports.WorkerLostReport(worker, "starting", [], "exit code 1", error))
        record: Any = caplog.records[-1]
        return record.msg.partition("exit code 1")[2], "traceback" in record.fields

    again = ", again, for the same reason"
    assert [fail("OSError: no weights"), fail("OSError: no weights")] == [("", True), (again, False)]
    assert [fail("OSError: no disk"), fail("")] == [("", True), ("", False)]
    log.report(reports.PoolFailedReport(pool, "OSError: no disk"))
    last: Any = caplog.records[-1]
    assert last.msg.endswith(f"was given up{again}")
    assert "traceback" not in last.fields
    log.report(reports.WorkerReadyReport(worker, 0.1))
    assert fail("OSError: no weights") == ("", True)


def test_what_is_missing_is_null(caplog: pytest.LogCaptureFixture) -> None:
    """A field without a value is None, never an empty text: JSON shows null, and the text format leaves it out."""
    caplog.set_level("INFO", "penstock")
    log = OperatorLog(lambda: 0.0, lambda _worker: None)
    log.report(reports.PauseReport("the program", "", 0))
    log.report(reports.ResumeReport("the program", "", 0))
    call: Any = SimpleNamespace(lane=SimpleNamespace(name="square"), request_id="", attempts=1)
    log_failure(call, HandlerError("no", exception_type="ValueError"))
    pause, resume, failure = cast("list[Any]", caplog.records)
    assert (pause.fields["why"], resume.fields["why"], failure.fields["request_id"]) == (None, None, None)
    assert "why" not in pause.getMessage()


def test_the_number_of_an_attempt_is_not_its_id(caplog: pytest.LogCaptureFixture) -> None:
    """``attempt`` counts the attempts of a job, as ``Context.attempt`` does; ``attempt_id`` is the id in the status."""
    caplog.set_level("INFO", "penstock")
    place = SimpleNamespace(name="default/0")
    lane = SimpleNamespace(name="square", timeouts=SimpleNamespace(grace=2.0))
    worker = SimpleNamespace(id=1, place=place)
    attempt: Any = SimpleNamespace(id=77, lane=lane, worker=worker, started=0.0, jobs=[])
    job: Any = SimpleNamespace(lane=lane)
    log = OperatorLog(lambda: 1.0, lambda _worker: 1)
    log.report(reports.InterruptReport(attempt, job, "execution"))
    log.report(reports.OverstayReport(attempt))
    log.report(reports.RetryReport(job, 2, 0.0, HandlerError("no", exception_type="ValueError")))
    *ladder, retry = cast("list[Any]", caplog.records)
    assert [(record.fields["attempt_id"], record.fields.get("attempt")) for record in ladder] == [(77, None)] * 2
    assert (retry.fields["attempt"], retry.fields.get("attempt_id")) == (2, None)
