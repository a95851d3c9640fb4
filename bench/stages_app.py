"""The app that ``stages.py`` measures: importing it installs the probes, in the HTTP process and in the worker."""

from __future__ import annotations

import os
import sys

from stage_probes import FOLDER_VARIABLE, HTTP_PROBES, WORKER_PROBES, StageRecorder, install, probe_transports

from penstock import App

app = App(__name__)


@app.endpoint("/square")
def square(input: float) -> float:
    """Return the square, at next to no cost."""
    return input**2


if "penstock.engine.engine" in sys.modules:
    from penstock_gunicorn.direct_protocol import DirectProtocol

    _recorder = StageRecorder("http", os.environ[FOLDER_VARIABLE])
    install(HTTP_PROBES, _recorder)
    probe_transports(DirectProtocol, _recorder)
else:  # in the process that forks the workers
    install(WORKER_PROBES, StageRecorder("worker", os.environ[FOLDER_VARIABLE]))
