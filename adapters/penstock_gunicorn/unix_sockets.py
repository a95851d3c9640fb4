"""The files of Unix sockets: made with their permissions, replaced when their server has died, removed at the end."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import stat
import time
from collections.abc import Iterator
from pathlib import Path

# Another server holds the lock only while it binds. A longer wait is for a program that is not a server.
LOCK_LIMIT = 1.0
LOCK_INTERVAL = 0.01


def bind_file(sock: socket.socket, path: str, mode: int, backlog: int) -> None:
    """Bind a Unix socket to a path and listen. The file of a server that has died is replaced.

    Parameters
    ----------
    sock:
        The new socket.
    path:
        The path of the file.
    mode:
        Its permissions; a client needs the one to write.
    backlog:
        The number of connections that may wait.

    Raises
    ------
    OSError
        If the file cannot be made, or if something else is there: ``EADDRINUSE`` for a live server, ``EEXIST`` for
        anything but a socket.
    """
    with _lock_of_folder(path):
        _remove_stale(path)
        before = os.umask(0o777 & ~mode)  # chmod() afterwards would leave the socket open for a moment
        try:
            sock.bind(path)
        finally:
            os.umask(before)
        sock.listen(backlog)


def file_identity(path: str) -> tuple[int, int] | None:
    """Return the device and the number of a file; None if there is none.

    While its socket is open, no other file has the same.
    """
    try:
        status = Path(path).lstat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def remove_file(path: str, identity: tuple[int, int] | None) -> None:
    """Remove the file of a socket that is still open, unless another file has taken its path."""
    with contextlib.suppress(OSError), _lock_of_folder(path):
        if identity is not None and file_identity(path) == identity:
            Path(path).unlink()


def remove_stale_file(path: str) -> None:
    """Remove the file of a socket that has no server; leave anything else alone."""
    with contextlib.suppress(OSError), _lock_of_folder(path):
        _remove_stale(path)


def _remove_stale(path: str) -> None:
    try:
        mode = Path(path).lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise OSError(errno.EEXIST, "the file exists, and is not a socket")
    if _is_served(path):
        raise OSError(errno.EADDRINUSE, "another server listens on it")
    Path(path).unlink(missing_ok=True)


def _is_served(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except BlockingIOError:  # its backlog is full
            return True
    return True


@contextlib.contextmanager
def _lock_of_folder(path: str) -> Iterator[None]:
    """Keep other servers from looking at the path meanwhile: two may find the same file stale."""
    try:
        descriptor = os.open(Path(path).parent, os.O_RDONLY | os.O_DIRECTORY)
    except PermissionError:  # a folder may be writable and not readable
        yield
        return
    try:
        _try_to_lock(descriptor)
        yield
    finally:
        os.close(descriptor)


def _try_to_lock(descriptor: int) -> None:
    give_up_at = time.monotonic() + LOCK_LIMIT
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= give_up_at:
                return
            time.sleep(LOCK_INTERVAL)
        except OSError:  # a file system without locks
            return
        else:
            return
