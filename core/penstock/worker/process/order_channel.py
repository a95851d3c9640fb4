"""The end of a connection at which orders to fork workers arrive, with the descriptors of those workers."""

from __future__ import annotations

import errno
import os
import socket
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from penstock.wire import FrameReader, FromTemplate, FromZygote, Message, pack
from penstock.worker.process.worker_main import WorkerDescriptors

_RECEIVE_BYTES = 65_536
_MAX_DESCRIPTORS = 64  # in one read; three come with each Spawn, and one read returns those of one Spawn
_PER_WORKER = 3


class OrderChannel:
    """The zygote's end of the connection to the engine, or a template's to the zygote.

    Parameters
    ----------
    giver:
        The socket to the process whose orders these are.
    """

    def __init__(self, giver: socket.socket) -> None:
        self._giver = giver
        self._frames = FrameReader()
        self._descriptors: deque[int] = deque()  # received, and not yet passed to a worker

    def fileno(self) -> int:
        """Return the socket's descriptor."""
        return self._giver.fileno()

    def receive(self) -> list[Message] | None:
        """Wait for something to arrive, and return the messages that it completes; None if the giver is gone."""
        try:
            data, descriptors, _, _ = socket.recv_fds(
                self._giver, _RECEIVE_BYTES, _MAX_DESCRIPTORS, socket.MSG_CMSG_CLOEXEC
            )
        except ConnectionError:
            return None
        self._descriptors.extend(descriptors)
        return self._frames.feed(data) if data else None

    @contextmanager
    def descriptors_of_worker(self) -> Iterator[WorkerDescriptors]:
        """Lend the descriptors that came with one ``Spawn``; afterwards they are closed here.

        Raises
        ------
        OSError
            If the kernel has dropped some: this process had no number left for them.
        """
        received = [self._descriptors.popleft() for _ in range(min(_PER_WORKER, len(self._descriptors)))]
        try:
            if len(received) < _PER_WORKER:
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
            yield WorkerDescriptors(*received)
        finally:
            for descriptor in received:
                os.close(descriptor)

    def send(self, message: FromZygote | FromTemplate, descriptors: list[int] | None = None) -> None:
        """Send an answer, with descriptors.

        Raises
        ------
        OSError
            If the giver is gone.
        """
        frame = pack(message)
        sent = socket.send_fds(self._giver, [frame], descriptors or [])
        self._giver.sendall(frame[sent:])

    def close(self) -> None:
        """Close the socket, and the descriptors that were not passed on."""
        self._giver.close()
        while self._descriptors:
            os.close(self._descriptors.popleft())
