"""The file with the process ID of the master: what may be written, and what is found in it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from penstock_gunicorn.bulletin import published_by

MOST_BYTES = 32


class PidFileError(Exception):
    """The file cannot be used. The message says why, and what to do."""


def read_pid_file(path: Path) -> int:
    """Return the process ID in the file.

    Raises
    ------
    PidFileError
        If there is no file, it cannot be read, or it is something else.
    """
    try:
        mode = path.stat().st_mode
        content = path.read_bytes()[: MOST_BYTES + 1] if stat.S_ISREG(mode) else b""
    except FileNotFoundError:
        raise PidFileError(f"there is no pid file {str(path)!r}; is the server running with --pid-file?") from None
    except OSError as error:
        raise PidFileError(f"the pid file {str(path)!r} cannot be read: {error.strerror}") from None
    text = content.strip()
    if not text.isdigit() or len(content) > MOST_BYTES or int(text) == 0:
        raise PidFileError(f"{str(path)!r} is not a pid file: it has no process ID in it; choose another path")
    return int(text)


def prepare_pid_file(path: Path) -> None:
    """Check that a master may write its process ID here, and remove the file of one that has ended.

    Raises
    ------
    PidFileError
        If another server runs, the file is something else, or the folder is missing or not writable.
    """
    folder = path.parent
    if not folder.is_dir():
        raise PidFileError(f"there is no folder {str(folder)!r} for the pid file; create it, or choose another path")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PidFileError(
            f"the pid file {str(path)!r} cannot be written: no permission for its folder; choose another path"
        )
    if not path.exists() or (path.is_file() and path.stat().st_size == 0):
        return
    pid = read_pid_file(path)
    if pid != os.getpid() and _is_master(pid, path):
        raise PidFileError(
            f"a server is running already, as process {pid} in the pid file {str(path)!r}; stop it first, or choose "
            "another path"
        )
    path.unlink(missing_ok=True)  # it is stale: gunicorn would take any process of this number for a server


def _is_master(pid: int, path: Path) -> bool:
    try:
        os.kill(pid, 0)
        record = published_by(pid)
    except ProcessLookupError:
        return False
    except PermissionError:
        raise PidFileError(
            f"the pid file {str(path)!r} names process {pid} of another user; if that is not a server, remove the file"
        ) from None
    return record is not None and record.pid == pid
