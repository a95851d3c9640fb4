"""The process that imports the app once, and forks workers from then on.

``python -m penstock.worker.process.zygote FD`` where FD is a unix stream socket to the engine. It stays
single-threaded, never runs a model, and holds no device: that is what makes its forks quick and safe.
"""

from __future__ import annotations

import gc
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections import deque
from time import perf_counter
from typing import NoReturn

from penstock.app import App, loader
from penstock.wire import Exited, FrameReader, FromZygote, Load, Loaded, LoadFailed, Message, Spawn, Spawned, pack
from penstock.worker.failure_reports import user_traceback
from penstock.worker.interrupts import ignore
from penstock.worker.process import exec_worker as fresh
from penstock.worker.process import process_setup as birth
from penstock.worker.process.worker_main import Inheritance, live, preload_runtime

_RECEIVE_BYTES = 65_536
_MAX_DESCRIPTORS = 64  # in one read; three ride with each Spawn, and one read takes those of one


class Zygote:
    """Serves one engine until that is gone.

    Parameters
    ----------
    engine:
        The socket to it.
    """

    def __init__(self, engine: socket.socket) -> None:
        self._engine = engine
        self._frames = FrameReader()
        self._descriptors: deque[int] = deque()  # received, and not yet given to a worker
        self._workers: dict[int, int] = {}  # pid -> the engine's number
        self._processes: dict[int, subprocess.Popen[bytes]] = {}  # pid -> those that were not forked
        self._load: Load
        self._app: App
        self._must_exec = False
        self._wake_read, self._wake_write = socket.socketpair()
        self._wake_read.setblocking(False)
        self._wake_write.setblocking(False)

    def serve(self) -> NoReturn:
        """Do what the engine says; exit when it is gone."""
        poll = select.poll()
        poll.register(self._engine, select.POLLIN)
        poll.register(self._wake_read, select.POLLIN)
        while True:
            ready = {descriptor for descriptor, _ in poll.poll()}
            if self._wake_read.fileno() in ready:
                self._reap()
            if self._engine.fileno() in ready:
                for message in self._receive():
                    self._obey(message)

    # ---- the engine

    def _receive(self) -> list[Message]:
        try:
            data, descriptors, _, _ = socket.recv_fds(
                self._engine, _RECEIVE_BYTES, _MAX_DESCRIPTORS, socket.MSG_CMSG_CLOEXEC
            )
        except ConnectionError:
            data, descriptors = b"", []
        if not data:
            self._leave()
        self._descriptors.extend(descriptors)
        return self._frames.feed(data)

    def _send(self, message: FromZygote, descriptors: list[int] | None = None) -> None:
        frame = pack(message)
        try:
            sent = socket.send_fds(self._engine, [frame], descriptors or [])
            self._engine.sendall(frame[sent:])
        except OSError:
            self._leave()

    def _leave(self) -> NoReturn:
        """End with everything that was started here. The workers see the end of their own sockets as well."""
        for pid in self._workers:
            _kill_group(pid)
        os._exit(0)

    def _obey(self, message: Message) -> None:
        if isinstance(message, Load):
            self._import(message)
        elif isinstance(message, Spawn):
            self._spawn(message)

    # ---- the app

    def _import(self, load: Load) -> None:
        began = perf_counter()
        try:
            self._app = loader.load(load)
            for pool in self._app.pools.values():
                preload_runtime(pool.runtime)
        except BaseException as error:  # SystemExit as well: a script may end itself at import
            self._send(LoadFailed(user_traceback(error)))
            self._flush_and_exit()
        self._load = load
        threads = [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]
        # A fork copies only the thread that forks: locks of the others would stay locked for good.
        self._must_exec = bool(threads)
        self._prepare_to_fork()
        self._send(Loaded(perf_counter() - began, threads))

    def _flush_and_exit(self) -> NoReturn:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1)

    def _prepare_to_fork(self) -> None:
        # After the import, which may have set handlers of its own.
        birth.ignore_stop_signals()
        signal.signal(signal.SIGCHLD, ignore)
        signal.set_wakeup_fd(self._wake_write.fileno(), warn_on_full_buffer=False)
        # A collection in a child writes to every object it looks at; the pages of frozen ones stay shared.
        gc.collect()
        gc.freeze()

    # ---- workers

    def _spawn(self, orders: Spawn) -> None:
        inheritance = Inheritance(*(self._descriptors.popleft() for _ in range(3)))
        try:
            pid = self._exec(orders, inheritance) if self._must_exec else self._fork(orders, inheritance)
        except OSError as error:  # no more processes or no more memory: as if it had started, and died
            sys.stderr.write(f"penstock: cannot start worker {orders.name}: {error}\n")
            self._send(Exited(orders.worker, os.EX_OSERR))
            return
        finally:
            for descriptor in (inheritance.engine, inheritance.page, inheritance.output):
                os.close(descriptor)
        self._workers[pid] = orders.worker
        self._announce(orders.worker, pid)

    def _announce(self, worker: int, pid: int) -> None:
        # Nobody but us can reap it, so the pid is still its own here, even if it has died.
        descriptors = [os.pidfd_open(pid)] if hasattr(os, "pidfd_open") else []
        self._send(Spawned(worker, pid), descriptors)
        for descriptor in descriptors:
            os.close(descriptor)

    def _fork(self, orders: Spawn, inheritance: Inheritance) -> int:
        # What is buffered now would otherwise be written twice.
        sys.stdout.flush()
        sys.stderr.flush()
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            self._forget_the_zygote()
            live(lambda: self._app, orders, inheritance, parent=parent)
        _lead_group(pid)
        return pid

    def _forget_the_zygote(self) -> None:
        """Close, in a fork, what is the zygote's: an engine's end kept open would hide that the engine has gone."""
        self._engine.close()
        self._wake_read.close()
        signal.set_wakeup_fd(-1)
        self._wake_write.close()
        for descriptor in self._descriptors:
            os.close(descriptor)

    def _exec(self, orders: Spawn, inheritance: Inheritance) -> int:
        process = fresh.start(self._load, orders, inheritance)
        self._processes[process.pid] = process
        return process.pid

    def _reap(self) -> None:
        """Collect the workers that have ended, and end what they leave behind."""
        try:
            while self._wake_read.recv(4096):
                continue
        except BlockingIOError:
            pass
        for pid in list(self._workers):
            # Looked at, not yet reaped: while it is a zombie, nobody else can get its pid, and with it its group.
            if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                continue
            _kill_group(pid)
            _, status = os.waitpid(pid, 0)
            code = os.waitstatus_to_exitcode(status)
            process = self._processes.pop(pid, None)
            if process is not None:
                process.returncode = code  # or subprocess would wait for it again
            self._send(Exited(self._workers.pop(pid), code))


def _lead_group(pid: int) -> None:
    """Do what the child does as well, so that the group is there whoever comes first."""
    try:
        os.setpgid(pid, pid)
    except OSError:
        return  # it has done so, and ended


def _kill_group(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return  # nothing is left of it


def main() -> NoReturn:
    """Serve the engine at the other end of the socket named by the first argument."""
    birth.occupy_standard_descriptors()
    engine = socket.socket(fileno=int(sys.argv[1]))
    engine.set_inheritable(False)
    engine.setblocking(True)
    birth.die_with_parent()
    birth.ignore_stop_signals()
    birth.take_name("penstock zygote")
    Zygote(engine).serve()


if __name__ == "__main__":
    main()
