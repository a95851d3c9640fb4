"""The folder of the file by whose age gunicorn's master sees that the HTTP process is alive."""

from __future__ import annotations

import logging
import os
import sys
import tempfile

from gunicorn.arbiter import Arbiter

from penstock.hooks import log_event

SHARED_MEMORY = "/dev/shm"  # noqa: S108 - the file has a random name, and is unlinked at once


def heartbeat_folder() -> str | None:
    """Return the folder for the file, or None for the usual one; if there is none, log what to set and exit.

    A folder that replaces the usual one does so for all temporary files of this process.

    Containers are often given a file system that is read-only, and nothing else that can be written than this.
    """
    try:
        tempfile.gettempdir()
    except FileNotFoundError:
        if os.access(SHARED_MEMORY, os.W_OK | os.X_OK):
            # For whatever else this process and its forks put into a temporary folder, such as the engine's socket.
            tempfile.tempdir = SHARED_MEMORY
            return SHARED_MEMORY
        log_event(
            logging.CRITICAL,
            "no-temporary-folder",
            f"neither /tmp nor {SHARED_MEMORY} can be written, and the server needs a small file; "
            "set TMPDIR to a folder that can be written",
        )
        sys.exit(Arbiter.WORKER_BOOT_ERROR)
    return None
