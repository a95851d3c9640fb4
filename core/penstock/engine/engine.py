"""The engine: the thin loop around the scheduler. It performs the commands and turns readiness into events.

Everything here runs in one thread, that of the reactor. There is no lock, and nothing waits.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

from penstock.app import App, Endpoint
from penstock.engine.calls import Call
from penstock.engine.observers import Observers
from penstock.engine.operator_log import Reporter
from penstock.engine.outcomes import results_of
from penstock.engine.processes.worker_link import WorkerLink
from penstock.engine.processes.worker_processes import WorkerProcesses
from penstock.engine.reactors.reactor import Reactor, TimerHandle
from penstock.engine.specs import lane_specs, pool_specs
from penstock.errors import Draining, EngineError, NotFound, PenstockError
from penstock.hooks.records import ShutdownRequest
from penstock.hooks.registry import Registry
from penstock.hooks.submission import RANK_OF_PRIORITY, Submission
from penstock.scheduler import Attempt, Job, Scheduler
from penstock.scheduler import commands as do
from penstock.scheduler import events as on
from penstock.scheduler.states import RUNNING, SENT
from penstock.wire import WINDOW_BYTES, About, Cancel, Chunk, Credit, Done, Message, Ready, Run, SetupFailed, Stop, Work

STILL_LOADING_SECONDS = 10.0
FIRST_INTERRUPT_AGAIN_SECONDS = 0.01
INTERRUPT_AGAIN_SECONDS = 0.05


class Engine:
    """Owns the scheduler and the workers of one app.

    Parameters
    ----------
    app:
        What to serve.
    reactor:
        The loop to live on.
    target:
        Where the worker processes find the app, as ``penstock.app.loader`` reads it.
    registry:
        The plug-ins. Default: those that are installed, and the app's own.

    Attributes
    ----------
    registry:
        The plug-ins.
    failure:
        Why a pool could not be started, so that nothing will ever be served from it; None if none failed.
    on_pools_failed:
        Called with that, once for each such pool; to be set before ``start``.
    on_readiness:
        Called whenever a worker has become ready.
    on_shutdown:
        Called when ``shutdown`` has begun a drain, for a host that has more to stop than the engine.
    longest_drain:
        Seconds that no drain may exceed: the host would not wait for longer.
    """

    def __init__(self, app: App, reactor: Reactor, target: str, *, registry: Registry | None = None) -> None:
        self.app = app
        self.reactor = reactor
        self.failure: str | None = None
        self.on_pools_failed: Callable[[str], None] | None = None
        self.on_readiness: Callable[[], None] | None = None
        self.on_shutdown: Callable[[ShutdownRequest], None] | None = None
        self.longest_drain = math.inf
        self.registry = registry if registry is not None else Registry.load(app)
        self.registry.observe(app)
        self.registry.failures.run_in_engine = reactor.call_soon_threadsafe
        self.observing = Observers(self.registry, reactor.time)
        self._grant_drain = self.registry.shutdown_policy(app)
        self._shutdown: ShutdownRequest | None = None
        self._drain_began = 0.0
        self._endpoints = {endpoint.name: endpoint for endpoint in app.endpoints}
        self.scheduler = Scheduler(pool_specs(app), lane_specs(app, self.registry))
        self._lanes = [self.scheduler.lanes[endpoint.name] for endpoint in app.endpoints]
        self._crew = WorkerProcesses(reactor, target, self)
        self._reporter = Reporter(self)
        self._alarm: TimerHandle | None = None
        self._alarm_at = math.inf
        self._loading_alarm: TimerHandle | None = None
        self._on_drained: list[Callable[[], None]] = []
        self._later: list[do.Command] = []
        self._is_performing = False
        self._is_started = False
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

    def __repr__(self) -> str:
        return f"<Engine of {self.app.import_name}: {self.scheduler!r}>"

    # ---- life

    def start(self) -> None:
        """Start the processes; returns at once, while the models load. ``unready_reasons`` tells when they have."""
        if self._is_started:
            raise EngineError("the engine is started already")
        self._is_started = True
        self._crew.start()
        self._receive(on.StartRequested())

    @property
    def draining(self) -> bool:
        """Whether a drain has begun: nothing new is taken."""
        return self.scheduler.is_draining

    @property
    def closed(self) -> bool:
        """Whether ``close`` has been called, or a drain has ended."""
        return self._is_closed

    def drain(
        self,
        timeout: float,
        on_drained: Callable[[], None] | None = None,
        *,
        who: str = "the program",
        why: str = "",
    ) -> None:
        """Finish what is admitted and take nothing new. Only the first drain of an engine counts.

        Parameters
        ----------
        timeout:
            Seconds after which what is left is answered ``draining``, and stopped; the shutdown policy may grant less.
        on_drained:
            Called when nothing is left, no job and no process; at once if that is so already.
        who, why:
            For the observers.
        """
        if on_drained is not None:
            self._on_drained.append(on_drained)
        if self._is_closed:
            self._tell_drained()
        elif self._shutdown is None:
            self._begin_drain(ShutdownRequest(drain=timeout, who=who, why=why))

    def _begin_drain(self, wish: ShutdownRequest) -> None:
        seconds = min(self._grant_drain(wish), self.longest_drain)
        self._shutdown = ShutdownRequest(drain=seconds, who=wish.who, why=wish.why)
        self._drain_began = self.reactor.time()
        self.observing.drain_started(self._shutdown, self.scheduler.jobs_live)
        self._receive(on.DrainRequested(self._drain_began + seconds))

    def shutdown(
        self,
        drain: float,
        *,
        who: str = "the program",
        why: str = "",
        on_drained: Callable[[], None] | None = None,
    ) -> None:
        """Drain, and then close; returns at once. A server around the engine stops with it.

        Parameters are those of ``drain``.
        """
        self.drain(drain, on_drained or _do_nothing, who=who, why=why)
        if self.on_shutdown is not None and self._shutdown is not None:
            self.on_shutdown(self._shutdown)

    def pause(self, *, who: str = "the program", why: str = "") -> None:
        """Take the engine out of rotation: new work is refused, what is admitted goes on, the workers stay."""
        if not self._is_closed:
            self._receive(on.PauseRequested(who, why))

    def resume(self, *, who: str = "the program", why: str = "") -> None:
        """Take work again. A drain cannot be taken back."""
        if not self._is_closed:
            self._receive(on.ResumeRequested(who, why))

    def close(self) -> None:
        """Kill what is left and free everything, before returning. What is unanswered is answered ``draining``."""
        if self._is_closed:
            return
        self._is_closed = True
        self._crew.close()
        for alarm in (self._alarm, self._loading_alarm):
            if alarm is not None:
                alarm.cancel()
        left = self.scheduler.live_jobs()
        for job in left:
            job.payload.settle(job, Draining("the server has stopped"))
            self._tell_answered(job.payload, job)
        self._tell_drain_ended(len(left))
        self._tell_drained()

    def _tell_drain_ended(self, left: int) -> None:
        if not self._is_started:
            return
        request = self._shutdown or ShutdownRequest(drain=0.0, who="the program", why="closed without a drain")
        seconds = self.reactor.time() - self._drain_began if self._shutdown else 0.0
        abandoned = self.scheduler.desk.drain_abandoned + left
        self.observing.drain_ended(request, seconds, self.scheduler.desk.drain_answered, abandoned)

    def _tell_drained(self) -> None:
        waiting, self._on_drained = self._on_drained, []
        for callback in waiting:
            callback()

    # ---- what callers use

    def endpoint(self, name: str) -> Endpoint:
        """The endpoint of that name.

        Raises
        ------
        NotFound
            If there is none.
        """
        try:
            return self._endpoints[name]
        except KeyError:
            known = ", ".join(self._endpoints) or "none"
            raise NotFound(f"there is no endpoint {name!r}; there are: {known}") from None

    def check_room(self, endpoint: Endpoint) -> None:
        """Return if a job would be admitted now.

        Raises
        ------
        Draining, QueueFull, NotReady
            If not.
        EngineError
            If the engine is not started.
        """
        if self._is_closed:
            raise Draining("the server has stopped")
        if not self._is_started:
            raise EngineError("the engine is not started")
        refusal = self.scheduler.refusal(self._lanes[endpoint.index])
        if refusal is not None:
            raise refusal

    def submit(self, submission: Submission, body: bytes, *, headers: dict[str, str] | None = None) -> Call:
        """Submit a job; returns at once.

        Parameters
        ----------
        submission:
            The request as its policies have left it: what is called, by whom, how urgently and for how long. Its
            admission policies are released when the job has ended; if this method raises, release them with ``refuse``.
        body:
            The undecoded request body.
        headers:
            The request's headers, names in lower case, for the handler's context.

        Raises
        ------
        Draining, QueueFull, NotReady
            If there is no room for it.
        EngineError
            If the engine is not started.
        """
        endpoint = submission.endpoint
        assert isinstance(endpoint, Endpoint), "a route is never a job"
        if self._is_closed or not self._is_started:
            self.check_room(endpoint)
        principal = None if submission.principal is None else submission.principal.name
        call = Call(self, endpoint, body, request_id=submission.request_id, headers=headers, principal=principal)
        if submission.has_releases:
            call.submission = submission
        priority = RANK_OF_PRIORITY[submission.priority]
        lane = self._lanes[endpoint.index]
        job = Job(lane, submission.timeouts, len(body), call, priority=priority, share=submission.share)
        call.job = job
        self._receive(on.Submitted(job))
        if not job.admitted:
            raise job.outcome
        return call

    def refuse(self, submission: Submission, error: PenstockError) -> None:
        """Release the admission policies and notify observers: the request was refused and will not become a job."""
        self.observing.refused(submission, error)

    def cancel(self, call: Call, reason: str) -> None:
        """See ``Call.cancel``."""
        if call.job is not None and not self._is_closed:
            self._receive(on.CancelRequested(call.job, reason))

    def taken(self, call: Call, count: int, size_bytes: int) -> None:
        """See ``Call.take``."""
        job = call.job
        if self._is_closed or job is None:
            return
        attempt = job.attempt
        assert attempt is not None  # an undecided job with chunks is running
        self._receive(on.ChunksTaken(job, count))
        call.owed_bytes += size_bytes
        if call.owed_bytes >= WINDOW_BYTES // 4:  # not for every chunk: a message each would cost more than the chunks
            self._crew.links[attempt.worker.id].send(Credit(attempt.id, call.owed_bytes))
            call.owed_bytes = 0

    def unready_reasons(self) -> list[str]:
        """Why work should not be sent here now; empty if it should."""
        if self._is_closed or not self._is_started:
            return ["stopped" if self._is_closed else "not started"]
        return self.scheduler.unready_reasons()

    def status(self) -> dict[str, Any]:
        """What the status page shows, ready for JSON. Times are in seconds."""
        return self._reporter.status()

    @property
    def links(self) -> dict[int, WorkerLink]:
        """The worker processes, by the scheduler's id."""
        return self._crew.links

    # ---- the loop

    def _receive(self, event: on.Event) -> None:
        commands = self.scheduler.receive(event, self.reactor.time())
        if self._is_performing:
            self._later += commands  # this came out of performing a command; the others that are left come first
            return
        self._is_performing = True
        try:
            self._perform_all(commands)
        finally:
            self._is_performing = False
        heap = self.scheduler.timers.heap  # looked at before the call, which is hardly ever needed
        if heap and heap[0][0] < self._alarm_at:
            self._set_alarm()
        if self._on_drained and self.scheduler.is_drained:
            self.close()

    def _perform_all(self, commands: list[do.Command]) -> None:
        perform = self._perform
        while commands:
            for command in commands:
                perform[type(command)](command)
            commands, self._later = self._later, []

    def _set_alarm(self) -> None:
        when = self.scheduler.next_wakeup()
        if when is None or when >= self._alarm_at:
            return
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm_at = when
        self._alarm = self.reactor.call_at(when, self._on_alarm)

    def _on_alarm(self) -> None:
        self._alarm = None
        self._alarm_at = math.inf
        # The loop may have been busy with other things: what has arrived in time must not count as late.
        for link in list(self._crew.links.values()):
            link.poll()
        self._receive(on.TimePassed())

    def _still_loading(self) -> None:
        self._loading_alarm = None
        if self._reporter.still_loading():
            self._watch_loading()

    def _watch_loading(self) -> None:
        if self._loading_alarm is None:
            self._loading_alarm = self.reactor.call_at(self.reactor.time() + STILL_LOADING_SECONDS, self._still_loading)

    # ---- commands

    def _send(self, command: do.Send) -> None:
        attempt = command.attempt
        endpoint = attempt.jobs[0].payload.endpoint
        if endpoint.codec.context_parameter is None:
            works = [Work(job.payload.body) for job in attempt.jobs]
        else:
            works = [Work(job.payload.body, _about(job, attempt)) for job in attempt.jobs]
        # Only async code watches the clock itself; for the rest the engine does.
        deadline = attempt.deadline() if endpoint.mode == "task" else math.inf
        # A worker that was idle need not wait for what else this turn of the loop may bring.
        was_idle = attempt.state is RUNNING and len(attempt.worker.attempts) == 1
        message = Run(attempt.id, endpoint.index, deadline, works)
        self._crew.links[command.worker].send(message, at_once=was_idle)

    def _answer(self, command: do.Answer) -> None:
        job = command.job
        call: Call = job.payload
        call.settle(job, job.outcome)
        if job.admitted:  # a refusal is told by who asked
            if isinstance(job.outcome, PenstockError):
                self._reporter.failed(call, job, job.outcome)
            self._tell_answered(call, job)

    def _tell_answered(self, call: Call, job: Job) -> None:
        submission = call.submission
        if submission is not None or self.observing.tells_answers:
            # It holds the call as well, and the two would keep each other alive until a garbage collection.
            call.submission = None
            self.observing.answered(call, job, call.outcome, submission)

    def _start_worker(self, command: do.StartWorker) -> None:
        device = self.app.pools[command.pool].device_of(command.place)
        self._crew.spawn(command.worker, command.pool, command.place, device)
        self._watch_loading()

    def _interrupt(self, command: do.Interrupt) -> None:
        link = self._crew.links.get(command.worker)
        attempt = self.scheduler.attempts.get(command.attempt)
        if link is None or attempt is None:
            return  # a later command of the same turn has killed it
        link.send(Cancel(command.attempt))
        if attempt.jobs[0].payload.endpoint.mode == "inline":
            self._press(attempt, FIRST_INTERRUPT_AGAIN_SECONDS)

    def _press(self, attempt: Attempt, pause: float) -> None:
        """Signal, and again until the attempt has ended or its worker is killed.

        A signal that comes after the interpreter's last look, and before the system call that the user's code is about
        to block in, is not noticed until that call returns or the next signal interrupts it.
        """
        link = self._crew.links.get(attempt.worker.id)
        if link is None or attempt.id not in self.scheduler.attempts or self._is_closed:
            return
        link.interrupt(attempt.id)
        again = partial(self._press, attempt, INTERRUPT_AGAIN_SECONDS)
        self.reactor.call_at(self.reactor.time() + pause, again)

    def _recall(self, command: do.Recall) -> None:
        link = self._crew.links.get(command.worker)
        if link is not None:
            self._receive(on.Recalled(command.worker, link.recall(command.attempt)))

    def _kill(self, command: do.Kill) -> None:
        self._crew.kill(command.worker)

    def _stop_worker(self, command: do.StopWorker) -> None:
        self._crew.links[command.worker].send(Stop())

    def _report(self, command: do.Report) -> None:
        self._reporter.report(command.event, command.fields)
        self.observing.report(command.event, command.fields)
        if command.event == "worker-ready" and self.on_readiness is not None:
            self.on_readiness()
        if command.event == "pool-failed":
            self.failure = command.fields["error"]
            if self.on_pools_failed is not None:
                self.on_pools_failed(command.fields["error"])

    # ---- what the crew tells

    def on_messages(self, link: WorkerLink, messages: list[Message]) -> None:
        """See ``ProcessEvents``."""
        chunks: dict[int, list[bytes]] = {}
        for message in messages:
            kind = type(message)
            if kind is Done:
                if chunks:
                    self._chunks_arrived(chunks)
                self._done(message)  # type: ignore[arg-type]
            elif kind is Chunk:
                chunks.setdefault(message.attempt, []).append(message.body)  # type: ignore[union-attr]
            elif kind is Ready:
                link.pid = message.pid  # type: ignore[union-attr]
                self._receive(on.SetupFinished(link.worker, message.seconds))  # type: ignore[union-attr]
            elif kind is SetupFailed:
                link.setup_error = message.traceback  # type: ignore[union-attr]
        if chunks:
            self._chunks_arrived(chunks)

    def _done(self, message: Done) -> None:
        attempt = self.scheduler.attempts.get(message.attempt)
        if attempt is not None:
            results = results_of(message, len(attempt.jobs))
            if self.observing.tell_attempt is not None and results[0] is not on.NOT_BEGUN:
                self.observing.attempt_ended(attempt, attempt.live, message.seconds)
            self._receive(on.ResultsArrived(message.attempt, message.seconds, results))

    def _chunks_arrived(self, chunks: dict[int, list[bytes]]) -> None:
        """Chunks that arrived together are one event, however many they are."""
        for attempt_id, bodies in chunks.items():
            self._receive(on.ChunksArrived(attempt_id, len(bodies)))
            # Only now: what is due by now may have settled the job, or queued it again from its beginning.
            attempt = self.scheduler.attempts.get(attempt_id)
            if attempt is not None and attempt.live:
                attempt.jobs[0].payload.add_chunks(bodies)
        chunks.clear()

    def on_exit(self, link: WorkerLink, reason: str) -> None:
        """See ``ProcessEvents``."""
        if not self._is_closed:
            started = link.last_started() if self._runs_in_turn(link.worker) else None
            self._receive(on.WorkerExited(link.worker, reason, link.setup_error, started))

    def _runs_in_turn(self, worker_id: int) -> bool:
        """Whether all that the worker holds is inline, so that it can be told which of it had been begun."""
        worker = self.scheduler.workers[worker_id]
        return all(attempt.lane.runs_in_turn for attempt in worker.attempts.values())

    def on_load_failure(self, error: str) -> None:
        """See ``ProcessEvents``."""
        self._receive(on.ImportFailed(error))


def _do_nothing() -> None:
    pass


def _about(job: Job, attempt: Attempt) -> About:
    """What the handler's context will tell."""
    call: Call = job.payload
    number = job.attempts + (attempt.state is SENT)  # one that is sent ahead is counted when its turn comes
    return About(call.request_id, number, call.principal, call.headers or {}, attempt.deadline())
