"""Bare Falcon with the probes of ``stages.py``."""

from __future__ import annotations

import os

import falcon.asgi
from bare import Square
from gunicorn.asgi.protocol import ASGIProtocol
from stage_probes import BARE_PROBES, FOLDER_VARIABLE, StageRecorder, install, probe_transports

_recorder = StageRecorder("bare", os.environ[FOLDER_VARIABLE])
install(BARE_PROBES, _recorder)
probe_transports(ASGIProtocol, _recorder)

app = falcon.asgi.App()
app.add_route("/square", Square())
