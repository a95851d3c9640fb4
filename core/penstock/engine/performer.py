"""The performer: one turn of the engine. An event goes in, the commands are performed, the alarm is set.

Everything runs on the reactor's thread. There is no lock, and nothing blocks.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

from penstock.app import App
from penstock.app.manifest import Manifest
from penstock.engine.attempt_interrupts import AttemptInterrupts
from penstock.engine.calls import Call
from penstock.engine.inbox import Inbox
from penstock.engine.observers import Observers
from penstock.engine.operator_log import OperatorLog, log_failure
from penstock.engine.processes.worker_processes import WorkerProcesses
from penstock.engine.reactors.reactor import Reactor, TimerHandle
from penstock.engine.worker_watch import WorkerWatch
from penstock.errors import PenstockError
from penstock.scheduler import Attempt, Scheduler
from penstock.scheduler import commands as do
from penstock.scheduler import events as on
from penstock.scheduler.reports import AnyReport, WorkerReadyReport
from penstock.scheduler.states import RUNNING, SENT
from penstock.wire import WINDOW_BYTES, About, Cancel, Credit, Run, Stop, Work


class Performer:
    """The turns of one engine, over its scheduler and its processes.

    Parameters
    ----------
    app:
        The app that is served.
    reactor:
        The loop to run on.
    scheduler:
        The scheduler to drive.
    target:
        Where the worker processes find the app, as ``penstock.app.loader`` reads it.
    observers:
        The observers of plug-ins.
    on_report:
        Called with each report of the scheduler, after the operator log and the observers.

    Attributes
    ----------
    reactor:
        The loop.
    inbox:
        The receiver of all that the processes report.
    processes:
        The worker processes.
    after_turn:
        Called at the end of every turn.
    """

    def __init__(
        self,
        app: App,
        reactor: Reactor,
        scheduler: Scheduler,
        target: str,
        *,
        observers: Observers,
        on_report: Callable[[AnyReport], None],
    ) -> None:
        manifest = Manifest.of(app)
        self.inbox = Inbox(scheduler, observers, self.receive, reactor.time, manifest=manifest)
        self.processes = WorkerProcesses(
            reactor,
            target,
            self.inbox,
            manifest=manifest,
            start_method=app.start_method,
            load_seconds=app.start_timeout,
        )
        self.after_turn: list[Callable[[], None]] = []
        self._app = app
        self.reactor = reactor
        self._scheduler = scheduler
        self._observers = observers
        self._traces = observers.traces
        self._on_report = on_report
        self._worker_setups = observers.registry.worker_setups()
        self._log = OperatorLog(reactor.time, self.pid_of)
        self._interrupts = AttemptInterrupts(reactor, scheduler, self.processes.links)
        self._watch = WorkerWatch(reactor, scheduler, self.inbox, self.processes.links, self._log)
        self._alarm: TimerHandle | None = None
        self._alarm_at = math.inf
        self._later: list[do.Command] = []
        self._is_performing = False
        self._is_closed = False
        self._perform: dict[type, Callable[[Any], None]] = {
            do.Send: self._send,
            do.Answer: self._answer,
            do.StartWorker: self._start_worker,
            do.Interrupt: self._interrupt,
            do.Recall: self._recall,
            do.Kill: self._kill,
            do.StopWorker: self._stop_worker,
            do.Report: self._report,
        }

    def start(self) -> None:
        """Start the processes and the watch over them."""
        self.processes.start()
        self.receive(on.StartRequested())
        self._watch.start()

    def close(self) -> None:
        """Kill all processes, and set no more alarms."""
        self._is_closed = True
        self._watch.close()
        self._interrupts.close()
        self.processes.close()
        if self._alarm is not None:
            self._alarm.cancel()

    def pid_of(self, worker: int) -> int | None:
        """Return the process id of a worker, by the scheduler's id of it; None if it has none."""
        link = self.processes.links.get(worker)
        return link.pid if link else None

    def template_of(self, pool: str) -> dict[str, int | None]:
        """Return the field of the status page with the pid of a pool's template; none if the pool does not preload."""
        return {"template": self.processes.template_pid(pool)} if self._app.pools[pool].preload else {}

    # ---- the turn

    def receive(self, event: on.Event) -> None:
        """Pass an event to the scheduler, perform its commands, and set the alarm for the next turn."""
        commands = self._scheduler.receive(event, self.reactor.time())
        if self._is_performing:
            self._later += commands  # this event came out of performing a command; the remaining ones go first
            return
        self._is_performing = True
        try:
            self._perform_all(commands)
        finally:
            self._is_performing = False
        heap = self._scheduler.timers.heap  # checked before the call, which is hardly ever needed
        if heap and heap[0][0] < self._alarm_at:
            self._set_alarm()
        for callback in self.after_turn:
            callback()

    def _perform_all(self, commands: list[do.Command]) -> None:
        perform = self._perform
        for command in commands:
            perform[type(command)](command)
        while self._later:
            later, self._later = self._later, []
            for command in later:
                perform[type(command)](command)

    def _set_alarm(self) -> None:
        when = self._scheduler.next_wakeup()
        if when is None or when >= self._alarm_at:
            return
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm_at = when
        self._alarm = self.reactor.call_at(when, self._on_alarm)

    def _on_alarm(self) -> None:
        self._alarm = None
        self._alarm_at = math.inf
        # The loop may have been busy with other work: messages that arrived in time must not count as late.
        for link in list(self.processes.links.values()):
            link.poll()
        self.receive(on.TimePassed())

    # ---- commands

    def _send(self, command: do.Send) -> None:
        attempt = command.attempt
        calls: list[Call] = attempt.jobs  # type: ignore[assignment] # an engine submits nothing else
        endpoint = calls[0].endpoint
        if endpoint.codec.context_parameter is None:
            works = [Work(call.body, None, call.submission.input_form) for call in calls]  # type: ignore[arg-type] # the link sends files as well
        else:
            works = [_work(call, attempt, sees_progress=self._observers.see_progress) for call in calls]
        # Only the loops of async code and of steps watch the clock themselves; for the rest the engine does.
        deadline = attempt.deadline() if endpoint.mode in ("task", "stepped") else math.inf
        # A worker that was idle need not wait for the rest of this turn of the loop.
        was_idle = attempt.state is RUNNING and len(attempt.worker.attempts) == 1
        request_ids = [call.submission.request_id for call in calls]
        message = Run(attempt.id, endpoint.name, deadline, works, request_ids)
        if self._traces is not None:
            message.trace, message.trace_ids = self._traces.sent(attempt)
        self.processes.links[command.worker].send(message, at_once=was_idle)

    def _answer(self, command: do.Answer) -> None:
        call = command.job
        assert type(call) is Call
        if call.admitted:  # a refusal is reported by the submitter
            if isinstance(call.outcome, PenstockError):
                log_failure(call, call.outcome)
            if call.submission.has_releases or self._observers.see_answers:
                self._observers.job_answered(call)
            elif self._traces is not None:
                self._traces.answered(call)
        call.close()  # last, since the response may be written now: a release may still have added to its headers

    def _start_worker(self, command: do.StartWorker) -> None:
        pool = self._app.pools[command.pool]
        device = pool.device_of(command.place)
        preload, setups = pool.preload, self._worker_setups
        self.processes.spawn(command.worker, command.pool, command.place, device, preload=preload, setups=setups)
        self._watch.on_start()

    def _interrupt(self, command: do.Interrupt) -> None:
        link = self.processes.links.get(command.worker)
        if link is None:
            return  # a later command of the same turn has killed the worker
        link.send(Cancel(command.attempt))
        self._interrupts.begin(command.attempt)

    def _recall(self, command: do.Recall) -> None:
        link = self.processes.links.get(command.worker)
        if link is not None:
            self.inbox.on_recalled(link, link.recall(command.attempt))

    def _kill(self, command: do.Kill) -> None:
        self.processes.kill(command.worker)

    def _stop_worker(self, command: do.StopWorker) -> None:
        self.processes.links[command.worker].send(Stop())

    def _report(self, command: do.Report) -> None:
        self._log.report(command.report)
        self._observers.report(command.report)
        if type(command.report) is WorkerReadyReport:
            self._watch.on_ready(command.report.worker)
        self._on_report(command.report)

    # ---- what callers do

    def begin_upload(self, size_bytes: int) -> Callable[[], None]:
        """Count the bytes of a large body until the returned function is called."""
        self.receive(on.UploadBegan(size_bytes))
        return partial(self._end_upload, size_bytes)

    def _end_upload(self, size_bytes: int) -> None:
        if not self._is_closed:
            self.receive(on.UploadEnded(size_bytes))

    def cancel(self, call: Call, reason: str) -> None:
        """Cancel the job of a call."""
        if not self._is_closed:
            self.receive(on.CancelRequested(call, reason))

    def taken(self, call: Call, count: int, size_bytes: int) -> None:
        """Record that a caller has taken chunks, and credit the worker with their size."""
        if self._is_closed or call.outcome is not None:
            return
        attempt = call.attempt
        assert attempt is not None  # an undecided job with chunks is running
        self.receive(on.ChunksTaken(call, count))
        call.owed_bytes += size_bytes
        if call.owed_bytes >= WINDOW_BYTES // 4:  # not for every chunk: a message each would cost more than the chunks
            self.processes.links[attempt.worker.id].send(Credit(attempt.id, call.owed_bytes))
            call.owed_bytes = 0


def _work(call: Call, attempt: Attempt, *, sees_progress: bool) -> Work:
    """Return a job as it is sent to a handler that takes a context."""
    number = call.attempts + (attempt.state is SENT)  # a job that was sent ahead is counted when its turn comes
    headers, deadline, submission = call.headers or {}, attempt.deadline(), call.submission
    about = About(
        call.job_id,
        number,
        call.principal,
        headers,
        deadline,
        call.request_id,
        submission.query,
        submission.claim,
        sees_progress or call.on_report is not None,
    )
    return Work(call.body, about, submission.input_form)  # type: ignore[arg-type] # the link sends files as well
