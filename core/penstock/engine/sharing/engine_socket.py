"""The socket of a shared engine: in a folder that only its user can enter, and for processes of that user alone."""

from __future__ import annotations

import os
import shutil
import socket
import struct
import tempfile
from pathlib import Path

from penstock.errors import EngineError

LONGEST_SOCKET_PATH_BYTES = 107
"""The longest path of a socket on Linux: ``sun_path`` has 108 bytes, with a zero at the end. macOS has four fewer."""
BACKLOG = 128
_CREDENTIALS = struct.Struct("3i")  # struct ucred: pid, uid, gid


class EngineSocket:
    """A listening socket, in a private folder of its own.

    Attributes
    ----------
    path:
        The path to connect to.
    listener:
        The listening socket. It outlives an engine that accepts from it: then a host that connects waits for the next.

    Raises
    ------
    EngineError
        If the folder or the socket cannot be made; the message has the cause and the fix.
    """

    def __init__(self) -> None:
        self._owner = os.getpid()
        try:
            self._folder = tempfile.mkdtemp(prefix="penstock-")  # with mode 0700
        except OSError as error:
            folder = "a temporary folder" if tempfile.tempdir is None else tempfile.tempdir
            raise EngineError(
                f"cannot make a folder for the engine's socket in {folder}: {error.strerror}; set TMPDIR to a folder "
                "that can be written to"
            ) from None
        self.path = str(Path(self._folder) / "engine")
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            require_short(self.path)
            self.listener.bind(self.path)
            self.listener.listen(BACKLOG)
        except OSError as error:
            self.close()
            raise EngineError(f"cannot listen on {self.path}: {error.strerror}; set TMPDIR to another folder") from None
        except EngineError:
            self.close()
            raise

    def close(self) -> None:
        """Close the listener and, in the process that made it, remove the folder. Idempotent."""
        self.listener.close()
        if os.getpid() == self._owner:
            shutil.rmtree(self._folder, ignore_errors=True)


def require_short(path: str) -> None:
    """Check that a path can be that of a socket.

    Raises
    ------
    EngineError
        If it is too long.
    """
    size_bytes = len(os.fsencode(path))
    if size_bytes > LONGEST_SOCKET_PATH_BYTES:
        raise EngineError(
            f"the socket's path {path} has {size_bytes} bytes, and no more than {LONGEST_SOCKET_PATH_BYTES} are "
            "possible; set TMPDIR to a folder with a shorter path"
        )


def is_ours(connection: socket.socket) -> bool:
    """Return whether the process at the other end belongs to this process's user, as far as the system can say."""
    if not hasattr(socket, "SO_PEERCRED"):
        return True  # the folder keeps the others out
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _pid, uid, _gid = _CREDENTIALS.unpack(credentials)
    return bool(uid == os.geteuid())
