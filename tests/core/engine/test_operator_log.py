"""The operator log: what it repeats, and what it does not."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from penstock.engine.operator_log import OperatorLog
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
