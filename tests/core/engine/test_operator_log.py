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
