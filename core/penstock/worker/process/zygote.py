"""The zygote: a process that imports the app once, and from then on forks workers.

``python -m penstock.worker.process.zygote FD``, where FD is a unix stream socket to the engine. The zygote stays
single-threaded, never runs a model and uses no device, which makes its forks fast and safe.
"""

from __future__ import annotations

import gc
import math
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Container
from functools import partial
from time import perf_counter
from typing import NoReturn

from penstock.app import App, loader
from penstock.app.manifest import DisagreementError
from penstock.eventlog.standard_streams import occupy_standard_descriptors
from penstock.wire import (
    Exited,
    FromZygote,
    Load,
    Loaded,
    LoadFailed,
    Spawn,
    Spawned,
    SpawnFailed,
    Suspended,
)
from penstock.worker import forks
from penstock.worker.failure_reports import user_traceback
from penstock.worker.interrupts import ignore
from penstock.worker.log_records import import_of_app, send_records
from penstock.worker.process import exec_worker, process_setup
from penstock.worker.process.fork_hazards import find_fork_hazards
from penstock.worker.process.order_channel import OrderChannel
from penstock.worker.process.template import TemplateSource, run_first_worker
from penstock.worker.process.template_links import TemplateLinks
from penstock.worker.process.worker_main import WorkerDescriptors, preload_runtime, run_worker


class Zygote:
    """The zygote of one engine.

    Parameters
    ----------
    engine:
        The socket to the engine.
    """

    def __init__(self, engine: socket.socket) -> None:
        self._channel = OrderChannel(engine)
        self._poll = select.poll()
        self._templates = TemplateLinks(self._poll)
        self._workers: dict[int, int] = {}  # pid -> the engine's id of the worker
        self._processes: dict[int, subprocess.Popen[bytes]] = {}  # pid -> process, of workers that were executed
        self._load: Load
        self._app: App
        self._must_exec = False
        self._adopts = False
        self._wake_read, self._wake_write = socket.socketpair()
        self._wake_read.setblocking(False)
        self._wake_write.setblocking(False)

    def serve(self) -> NoReturn:
        """Carry out the engine's orders; exit when the engine is gone."""
        self._poll.register(self._channel, select.POLLIN)
        self._poll.register(self._wake_read, select.POLLIN)
        while True:
            ready = self._wait()
            for news in self._templates.receive(ready):
                self._pass_on(news)
            if self._wake_read.fileno() in ready:
                self._reap()
            if self._channel.fileno() in ready:
                self._obey()

    def _wait(self) -> set[int]:
        left = self._templates.seconds_left()
        ready = {descriptor for descriptor, _ in self._poll.poll(None if left is None else math.ceil(left * 1000))}
        if left is not None:
            self._templates.kill_silent()
        return ready

    # ---- messages

    def _obey(self) -> None:
        messages = self._channel.receive()
        if messages is None:
            self._leave()
        for message in messages:
            if isinstance(message, Load):
                self._import(message)
            elif isinstance(message, Spawn):
                self._spawn(message)

    def _send(self, message: FromZygote, descriptors: list[int] | None = None) -> None:
        try:
            self._channel.send(message, descriptors)
        except OSError:
            self._leave()

    def _leave(self) -> NoReturn:
        """Exit, and kill all workers. They would also exit by themselves, at the end of their own sockets."""
        for pid in self._workers:
            _kill_group(pid)
        os._exit(0)

    # ---- the app

    def _import(self, load: Load) -> None:
        self._load = load
        if load.log_mark:
            send_records(load.log_mark)
        if load.start_method == "fresh":
            # Not imported here: a model that is built at import would take its memory, or its GPU's, once more.
            self._must_exec = True
            self._prepare_to_fork()
            self._send(Loaded(0.0, []))
            return
        began = perf_counter()
        try:
            with import_of_app():
                self._app = loader.load(load)
            for pool in self._app.pools.values():
                preload_runtime(pool.runtime)
        except BaseException as error:  # SystemExit included: a script may exit at import
            declared = error.declared if isinstance(error, DisagreementError) else None
            self._send(LoadFailed(user_traceback(error), declared))
            self._flush_and_exit()
        hazards = find_fork_hazards()
        self._must_exec = bool(hazards) and load.start_method == "auto"
        self._prepare_to_fork()
        self._send(Loaded(perf_counter() - began, hazards))

    def _flush_and_exit(self) -> NoReturn:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1)

    def _prepare_to_fork(self) -> None:
        # After the import, which may have installed handlers of its own.
        process_setup.ignore_stop_signals()
        signal.signal(signal.SIGCHLD, ignore)
        signal.set_wakeup_fd(self._wake_write.fileno(), warn_on_full_buffer=False)
        # A garbage collection in a child writes to every object it visits. Frozen objects are skipped, so their pages
        # stay shared.
        gc.collect()
        gc.freeze()

    # ---- workers

    def _spawn(self, spawn: Spawn) -> None:
        try:
            with self._channel.descriptors_of_worker() as descriptors:
                pid = self._start(spawn, descriptors)
        except OSError as error:  # out of descriptors, processes or memory
            self._send(SpawnFailed(spawn.worker, error.strerror or str(error)))
            return
        if pid:
            self._workers[pid] = spawn.worker
            self._announce(spawn.worker, pid)

    def _start(self, spawn: Spawn, descriptors: WorkerDescriptors) -> int:
        """Start a worker and return its pid; 0 if a template was asked for it."""
        if self._must_exec:
            return self._exec(spawn, descriptors)
        if not spawn.preload or sys.platform != "linux":
            return self._fork(partial(run_worker, lambda: self._app, spawn, descriptors, parent=os.getpid()))
        if self._templates.spawn(spawn, descriptors):
            return 0
        return self._fork_first(spawn, descriptors)

    def _fork_first(self, spawn: Spawn, descriptors: WorkerDescriptors) -> int:
        """Fork the worker that sets the models of its pool up, and leaves a template for the others."""
        if not self._adopts:
            process_setup.adopt_orphans()
            self._adopts = True
        output = os.dup(1)
        try:
            with self._templates.open(spawn.pool) as theirs:
                source = TemplateSource(self._app, self._load, spawn.pool, theirs, os.getpid(), output)
                return self._fork(partial(run_first_worker, source, spawn, descriptors))
        finally:
            os.close(output)

    def _pass_on(self, news: FromZygote) -> None:
        """Report what a template has answered, or that it is lost."""
        if isinstance(news, Spawned) and not _is_child(news.pid):
            self._send(SpawnFailed(news.worker, f"process {news.pid} is not a fork of its template"))
        elif isinstance(news, Spawned):
            self._workers[news.pid] = news.worker
            _lead_group(news.pid)
            self._announce(news.worker, news.pid)
            self._reap()  # it may have ended before it was known
        else:
            self._send(news)

    def _announce(self, worker: int, pid: int) -> None:
        # Only the zygote can reap the worker, so the pid is still the worker's here, even if it has died.
        try:
            descriptors = [os.pidfd_open(pid)] if hasattr(os, "pidfd_open") else []
        except OSError:  # out of descriptors: the engine opens it
            descriptors = []
        self._send(Spawned(worker, pid), descriptors)
        for descriptor in descriptors:
            os.close(descriptor)

    def _fork(self, run: Callable[[], NoReturn]) -> int:
        # Otherwise the child would write the buffered output a second time.
        sys.stdout.flush()
        sys.stderr.flush()
        pid = forks.fork_worker()
        if pid == 0:
            self._close_in_fork()
            run()
        _lead_group(pid)
        return pid

    def _close_in_fork(self) -> None:
        """Close the zygote's descriptors in a fork: open copies would hide from others that a process has ended."""
        self._channel.close()
        self._templates.close_in_fork()
        self._wake_read.close()
        signal.set_wakeup_fd(-1)
        self._wake_write.close()

    def _exec(self, spawn: Spawn, descriptors: WorkerDescriptors) -> int:
        process = exec_worker.start(self._load, spawn, descriptors)
        self._processes[process.pid] = process
        return process.pid

    def _reap(self) -> None:
        """Reap the workers that have ended, and kill the processes that they leave behind. Report those that stop."""
        try:
            while self._wake_read.recv(4096):
                continue
        except BlockingIOError:
            pass
        for pid, worker in list(self._workers.items()):
            # Wait without reaping: while the worker is a zombie, no other process can get its pid or process group.
            if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                if _was_stopped(pid):
                    self._send(Suspended(worker))
                continue
            _kill_group(pid)
            _, status = os.waitpid(pid, 0)
            code = os.waitstatus_to_exitcode(status)
            process = self._processes.pop(pid, None)
            if process is not None:
                process.returncode = code  # otherwise subprocess would wait for it again
            del self._workers[pid]
            self._send(Exited(worker, code))
        if self._adopts and not self._templates.is_waiting:
            _reap_strangers(self._workers)


def _reap_strangers(workers: Container[int]) -> None:
    """Reap adopted processes that are not workers: templates, and those that user code has left behind."""
    while True:
        try:
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if ended is None or ended.si_pid in workers:
            return  # a worker that has ended just now: it is reaped at the next signal, and strangers after it
        os.waitpid(ended.si_pid, 0)


def _is_child(pid: int) -> bool:
    """Return whether the process is a child of this one that has not been reaped."""
    try:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except (OSError, OverflowError):
        return False
    return True


def _lead_group(pid: int) -> None:
    """Create the child's process group. The child does the same: the group must exist whichever runs first."""
    try:
        os.setpgid(pid, pid)
    except OSError:
        return  # the child has created it already, and has ended


def _was_stopped(pid: int) -> bool:
    """Return whether a signal has stopped the child since the last call. A debugger that stops it is not counted."""
    try:
        return os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOHANG) is not None
    except ChildProcessError:  # it has ended by now
        return False


def _kill_group(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return  # no process is left in the group


def main() -> NoReturn:
    """Serve the engine at the other end of the socket named by the first argument."""
    occupy_standard_descriptors()
    engine = socket.socket(fileno=int(sys.argv[1]))
    engine.set_inheritable(False)
    engine.setblocking(True)
    process_setup.die_with_parent()
    process_setup.ignore_stop_signals()
    process_setup.write_utf8()
    forks.restore_signals_in_children()
    process_setup.take_name("penstock zygote")
    Zygote(engine).serve()


if __name__ == "__main__":
    main()
