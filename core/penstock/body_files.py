"""Large bodies: each is written to a file once, and handed on by its descriptor.

Most of these files are in memory (a memfd); they are sealed, so that no process that has the descriptor can change
or shorten them. A file on disk has no name, and is gone when the last process that has it open is.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
import sys
import tempfile
from _thread import start_new_thread
from pathlib import Path
from struct import Struct
from typing import Final, Self, TypeAlias

if sys.platform == "linux":
    import fcntl

    _SEALS: Final = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE

LARGE_BODY_BYTES: Final = 1 << 20
"""A request body above this size is passed on in a file. In a frame it is copied three times, which is cheap below."""
_BRIEF_BYTES: Final = 4 << 20  # a file of less is closed in half a millisecond
_DESCRIPTOR: Final = Struct("i")
_MARK: Final = b"f"  # a descriptor cannot be sent without a byte


class BodyFile:
    """A body in a file. It is closed by ``close`` or ``release``, or when nothing refers to it.

    Use ``in_memory``, ``on_disk`` or ``of``, then ``write`` and ``seal`` if there is more to write.

    Parameters
    ----------
    descriptor:
        The open file, which this object owns from now on.
    size_bytes:
        The size of what it holds.
    reader:
        Another descriptor of the file, for reading only, by which ``seal`` replaces the first; -1 if there is none.
    is_in_memory:
        True if the file takes memory, and not room on a disk.
    """

    __slots__ = ("_descriptor", "_reader", "_size_bytes", "is_in_memory")

    def __init__(self, descriptor: int, size_bytes: int = 0, *, reader: int = -1, is_in_memory: bool = True) -> None:
        self._descriptor = descriptor
        self._reader = reader
        self._size_bytes = size_bytes
        self.is_in_memory = is_in_memory

    @classmethod
    def in_memory(cls) -> Self:
        """Return an empty file in memory; on disk where there are none in memory.

        Raises
        ------
        OSError
            If there is no descriptor left, or no folder for temporary files.
        """
        if sys.platform == "linux":
            return cls(os.memfd_create("penstock-body", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING))
        return cls.on_disk()

    @classmethod
    def on_disk(cls) -> Self:
        """Return an empty file in the folder for temporary files (``TMPDIR``).

        Others get it for reading only.

        Raises
        ------
        OSError
            If it cannot be opened.
        """
        descriptor, path = tempfile.mkstemp(prefix="penstock-body-")
        try:
            reader = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            os.close(descriptor)
            raise
        finally:
            Path(path).unlink()
        return cls(descriptor, reader=reader, is_in_memory=False)

    @classmethod
    def of(cls, body: bytes) -> Self:
        """Return a sealed file in memory with this content.

        Raises
        ------
        OSError
            If there is no descriptor, or no memory, left.
        """
        file = cls.in_memory()
        file.write(body)
        file.seal()
        return file

    def __repr__(self) -> str:
        return f"<BodyFile of {self._size_bytes} bytes, descriptor {self._descriptor}>"

    def __len__(self) -> int:
        return self._size_bytes

    def __del__(self) -> None:
        self.release()

    def release(self) -> None:
        """Close the file, in a thread if that takes long. Idempotent."""
        if self._size_bytes < _BRIEF_BYTES:
            self.close()
            return
        # The last one to close a file has to free its memory, or its blocks: 40 ms for 256 MB.
        descriptors = (self._descriptor, self._reader)
        self._descriptor = self._reader = -1
        for descriptor in descriptors:
            if descriptor >= 0:
                _close_elsewhere(descriptor)

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._descriptor

    def write(self, piece: bytes | memoryview) -> None:
        """Append a piece.

        Raises
        ------
        OSError
            If there is no room for it.
        """
        view = memoryview(piece)
        while view:
            written = os.write(self._descriptor, view)
            self._size_bytes += written
            view = view[written:]

    def seal(self) -> None:
        """End the writing, in this and all other processes: from now on the file can be passed on."""
        if self._reader >= 0:
            os.close(self._descriptor)
            self._descriptor, self._reader = self._reader, -1
        elif sys.platform == "linux":
            fcntl.fcntl(self._descriptor, fcntl.F_ADD_SEALS, _SEALS)

    def read(self, start: int, size_bytes: int) -> bytes:
        """Return ``size_bytes`` from ``start`` on; fewer at the end."""
        return os.pread(self._descriptor, size_bytes, start)

    def read_all(self) -> bytes:
        """Return the whole body: one copy, up to 2 GiB. Other threads run meanwhile.

        Raises
        ------
        OSError
            If the file has been shortened, or cannot be read.
        """
        body = os.pread(self._descriptor, self._size_bytes, 0)
        while len(body) < self._size_bytes and (more := self.read(len(body), self._size_bytes - len(body))):
            body += more
        if len(body) < self._size_bytes:
            raise OSError(errno.EIO, f"only {len(body)} of {self._size_bytes} bytes of the body are there")
        return body

    def close(self) -> None:
        """Close the file, in this thread. Idempotent."""
        descriptors = (self._descriptor, self._reader)
        self._descriptor = self._reader = -1
        for descriptor in descriptors:
            if descriptor >= 0:
                os.close(descriptor)

    @property
    def is_trustworthy(self) -> bool:
        """True if it is a file of just this size that stays as it is; a process may have passed on anything else.

        Without seals (not on Linux) it is at least an ordinary file of this size.
        """
        facts = os.fstat(self._descriptor)
        if not stat.S_ISREG(facts.st_mode) or facts.st_size != self._size_bytes:
            return False
        if sys.platform == "linux":
            try:
                return fcntl.fcntl(self._descriptor, fcntl.F_GET_SEALS) & _SEALS == _SEALS
            except OSError:  # not a file in memory
                return False
        return True


def _close_elsewhere(descriptor: int) -> None:
    try:
        start_new_thread(os.close, (descriptor,))
    except RuntimeError:  # there are too many threads, or the interpreter is about to end
        os.close(descriptor)


Body: TypeAlias = bytes | BodyFile
"""A body: most are bytes."""


class FileMissingError(Exception):
    """The other end has not sent the file that it has announced."""


def send_file(target: socket.socket, file: BodyFile) -> bool:
    """Send a file's descriptor through a non-blocking socket; return False if there is no room for it."""
    try:
        return socket.send_fds(target, [_MARK], [file.fileno()]) == len(_MARK)
    except OSError as error:
        # If the connection is gone, its reader is about to notice.
        return error.errno in {errno.EPIPE, errno.ECONNRESET}


def receive_descriptor(source: socket.socket, size_bytes: int) -> tuple[bytes, int | None, bool]:
    """Receive up to ``size_bytes``; return them, the descriptor that came with them, and whether one was dropped.

    ``socket.recv_fds`` ignores its flags, so what it receives would be inherited by the programs that user code starts.
    """
    room, flags = socket.CMSG_LEN(_DESCRIPTOR.size), getattr(socket, "MSG_CMSG_CLOEXEC", 0)
    data, ancillary, answered, _ = source.recvmsg(size_bytes, room, flags)
    for level, kind, content in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS and len(content) == _DESCRIPTOR.size:
            (descriptor,) = _DESCRIPTOR.unpack(content)
            os.set_inheritable(descriptor, False)  # where there is no such flag
            return data, descriptor, False
    return data, None, bool(answered & socket.MSG_CTRUNC)


def receive_file(source: socket.socket, size_bytes: int) -> BodyFile:
    """Return the next file that was sent to a non-blocking socket, announced as one of this size.

    Raises
    ------
    FileMissingError
        If none has been sent.
    OSError
        If this process had no descriptor left for it.
    """
    try:
        mark, descriptor, is_cut = receive_descriptor(source, len(_MARK))
    except BlockingIOError:
        raise FileMissingError("the file of a body was announced and not sent") from None
    if descriptor is not None:
        return BodyFile(descriptor, size_bytes)
    if mark and is_cut:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
    raise FileMissingError("a body was announced in a file, and no file was sent")
