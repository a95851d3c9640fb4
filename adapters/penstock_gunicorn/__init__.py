"""gunicorn as Penstock's HTTP server: one gunicorn worker, with the engine on its event loop.

Exit codes of ``PenstockApplication.run``: 0 after a drain; 2 if the app cannot be loaded; 3 if it does not start, or
if its pools never become ready; 130 after an immediate stop (a second SIGINT, or SIGQUIT).
"""

from penstock_gunicorn.addresses import (
    DEFAULT_SOCKET_MODE,
    ListenAddress,
    ListenSettings,
    TcpAddress,
    open_listener,
    parse_addresses,
)
from penstock_gunicorn.application import PenstockApplication, replaces_master
from penstock_gunicorn.arbiter import PenstockArbiter
from penstock_gunicorn.bulletin import ReloadRecord, published_by
from penstock_gunicorn.companion import Companion
from penstock_gunicorn.gunicorn_config import REFUSED as REFUSED_SETTINGS
from penstock_gunicorn.gunicorn_config import read_gunicorn_config
from penstock_gunicorn.listeners import Listeners, inherited_listeners, open_listeners
from penstock_gunicorn.load_errors import describe_failure
from penstock_gunicorn.peer_settings import PeerSettings
from penstock_gunicorn.pid_file import PidFileError, prepare_pid_file, read_pid_file
from penstock_gunicorn.start_errors import StartError
from penstock_gunicorn.worker import PenstockWorker

__all__ = [
    "DEFAULT_SOCKET_MODE",
    "REFUSED_SETTINGS",
    "Companion",
    "ListenAddress",
    "ListenSettings",
    "Listeners",
    "PeerSettings",
    "PenstockApplication",
    "PenstockArbiter",
    "PenstockWorker",
    "PidFileError",
    "ReloadRecord",
    "StartError",
    "TcpAddress",
    "describe_failure",
    "inherited_listeners",
    "open_listener",
    "open_listeners",
    "parse_addresses",
    "prepare_pid_file",
    "published_by",
    "read_gunicorn_config",
    "read_pid_file",
    "replaces_master",
]
