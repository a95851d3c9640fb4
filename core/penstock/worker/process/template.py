"""A template: the process that keeps the models of one pool, set up, and forks the pool's workers.

The first worker of a pool that preloads sets the models up, like any other worker: with its output, its log, its time
limit, and its failures. Then it forks the template, and serves. The template runs no user code, and no loop. It touches
nothing of the models, so that its pages, and those of the workers that are forked from it, stay shared.
"""

from __future__ import annotations

import gc
import os
import socket
import sys
import traceback
from dataclasses import dataclass
from functools import partial
from typing import NoReturn

from penstock.app import App
from penstock.wire import Load, Spawn, Spawned, SpawnFailed, TemplateReady
from penstock.worker import forks
from penstock.worker.log_records import send_records
from penstock.worker.models import Models, SetupError
from penstock.worker.process import process_setup
from penstock.worker.process.adoption import fork_adopted
from penstock.worker.process.fork_hazards import find_fork_hazards
from penstock.worker.process.order_channel import OrderChannel
from penstock.worker.process.worker_main import Preload, WorkerDescriptors, flush_output, run_worker


@dataclass(frozen=True)
class TemplateSource:
    """The things that a template has from the zygote.

    Attributes
    ----------
    app, load:
        The app, and the engine's order to import it.
    pool:
        The name of the pool.
    zygote, pid:
        The socket to the zygote, and the zygote's pid.
    output:
        A descriptor of the zygote's stdout and stderr.
    """

    app: App
    load: Load
    pool: str
    zygote: socket.socket
    pid: int
    output: int


def run_first_worker(source: TemplateSource, spawn: Spawn, descriptors: WorkerDescriptors) -> NoReturn:
    """Turn this process into the worker that sets the models of its pool up, and leaves a template."""
    preload = Preload(share=partial(_leave_template, source))
    run_worker(lambda: source.app, spawn, descriptors, parent=source.pid, preload=preload)


def _leave_template(source: TemplateSource, models: Models) -> None:
    """Fork the template.

    Raises
    ------
    SetupError
        If ``setup`` has left something that a fork would break, or the kernel refuses the fork.
    """
    _require_forkable(source)
    gc.collect()
    gc.freeze()  # as in the zygote: so that no garbage collection writes to the pages that are to stay shared
    flush_output()
    try:
        is_template = fork_adopted() == 0
    except OSError as error:
        raise SetupError("", f"the process that keeps the models could not be forked: {error.strerror}\n") from None
    if is_template:
        _Template(source, models).run()
    source.zygote.close()
    os.close(source.output)


def _require_forkable(source: TemplateSource) -> None:
    hazards = ", ".join(find_fork_hazards())
    if not hazards:
        return
    problem = f"pool {source.pool!r} preloads, but its setup() has left {hazards}: a fork would break that"
    if source.load.start_method == "fork":
        sys.stderr.write(f"{problem}, so workers may hang or fail; the start method is 'fork'\n")
        return
    fix = "end the threads before setup() returns, keep the model on the CPU, or remove preload=True"
    raise SetupError("", f"{problem}; {fix}\n")


class _Template:
    def __init__(self, source: TemplateSource, models: Models) -> None:
        self._source = source
        self._models = models
        self._channel = OrderChannel(source.zygote)

    def run(self) -> NoReturn:
        """Become the template, and carry out the zygote's orders; exit when the zygote is gone."""
        try:
            self._become_template()
            while (messages := self._channel.receive()) is not None:
                for message in messages:
                    if isinstance(message, Spawn):
                        self._spawn(message)
        except BaseException:
            traceback.print_exc()
        flush_output()
        os._exit(0)

    def _become_template(self) -> None:
        forks.disown_worker()
        # The group of the worker that has forked it is killed with that worker.
        os.setpgid(0, 0)
        process_setup.die_with_parent(self._source.pid)
        process_setup.take_name(f"penstock {self._source.pool}")
        os.dup2(self._source.output, 1)
        os.dup2(self._source.output, 2)
        os.close(self._source.output)
        send_records(self._source.load.log_mark)
        self._channel.send(TemplateReady(self._source.pool, os.getpid()))

    def _spawn(self, spawn: Spawn) -> None:
        try:
            with self._channel.descriptors_of_worker() as descriptors:
                pid = fork_adopted()
                if pid == 0:
                    self._channel.close()
                    self._run_worker(spawn, descriptors)
        except OSError as error:  # out of descriptors, processes or memory
            self._channel.send(SpawnFailed(spawn.worker, error.strerror or str(error)))
        else:
            self._channel.send(Spawned(spawn.worker, pid))

    def _run_worker(self, spawn: Spawn, descriptors: WorkerDescriptors) -> NoReturn:
        preload = Preload(models=self._models)
        run_worker(lambda: self._source.app, spawn, descriptors, parent=self._source.pid, preload=preload)
