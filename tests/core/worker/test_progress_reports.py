"""Progress reports leave a worker at a bounded rate, and the last one always does."""

from __future__ import annotations

import threading

from penstock.testing.clock import MockClock
from penstock.wire import Progress
from penstock.worker.progress_reports import Outlet, ProgressReports


class Sender:
    def __init__(self, thread: int | None = None) -> None:
        self.sent: list[Progress] = []
        self.time = MockClock()
        self.reports = ProgressReports(7, Outlet(self.sent.append, thread), time=self.time)

    def report(self, *amounts: float) -> None:
        for done in amounts:
            self.reports.report(done, None, None)

    def amounts(self) -> list[float]:
        return [progress.done for progress in self.sent]


def test_ten_reports_may_come_at_once() -> None:
    """The eleventh is held back; in a tenth of a second there is room for one more."""
    sender = Sender()
    sender.report(*range(20))
    assert sender.amounts() == list(range(10))
    sender.time.advance(0.1)
    sender.report(20, 21)
    assert sender.amounts() == [*range(10), 20]


def test_the_rate_is_ten_per_second() -> None:
    """A handler that reports all the time sends ten at once, and ten in each second."""
    sender = Sender()
    for step in range(5000):
        sender.report(step)
        sender.time.advance(0.001)
    assert len(sender.sent) == 10 + 5 * 10 - 1


def test_the_last_report_is_sent_at_the_end() -> None:
    """It is the newest of those that were held back, and nothing comes after it."""
    sender = Sender()
    sender.report(*range(15))
    sender.reports.end()
    sender.report(99)
    assert sender.amounts() == [*range(10), 14]


def test_a_report_that_was_sent_is_not_sent_again() -> None:
    """At the end there is nothing to send if nothing is held back."""
    sender = Sender()
    sender.report(*range(11))
    sender.time.advance(1.0)
    sender.report(50)
    sender.reports.end()
    assert sender.amounts() == [*range(10), 50]


def test_another_thread_does_not_send() -> None:
    """Where one thread owns the socket, the reports of others are held back until the end."""
    sender = Sender(threading.get_ident())
    sender.report(1)
    thread = threading.Thread(target=sender.report, args=(2,))
    thread.start()
    thread.join()
    assert sender.amounts() == [1]
    sender.reports.end()
    assert sender.amounts() == [1, 2]
