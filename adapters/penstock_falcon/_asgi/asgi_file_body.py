"""The body of an ASGI response that is in a file."""

from __future__ import annotations

from penstock.hosting import BodyFile
from penstock_falcon._asgi.asgi_stream_body import AsgiStreamCutShort
from penstock_falcon._asgi.server_connection import ServerConnection
from penstock_falcon._asgi.server_loop import next_turn
from penstock_falcon.transport import FILE_PIECE_BYTES

_TURN_PIECES = 4  # in one turn of the loop, to a client that reads as fast as it is sent to


class AsgiFileBody:
    """An iterator over the pieces of a file, made for Falcon's ``resp.stream``.

    No more of the file than one piece is ever in the memory of this process.

    Parameters
    ----------
    file:
        The file.
    connection:
        The client's connection, if the server lets the application have it.
    """

    def __init__(self, file: BodyFile, connection: ServerConnection | None) -> None:
        self._file = file
        self._connection = connection
        self._sent_bytes = self._pieces = 0

    @property
    def untaken_bytes(self) -> int:
        """The bytes that the server has not taken."""
        return len(self._file) - self._sent_bytes

    def __aiter__(self) -> AsgiFileBody:
        return self

    async def __anext__(self) -> bytes:
        if not self.untaken_bytes:
            raise StopAsyncIteration
        if self._pieces == 0 and self._connection is not None:
            self._connection.stream = self  # only now: a response that never begins is never closed either
        self._pieces += 1
        if self._pieces % _TURN_PIECES == 0:
            await next_turn()
        if self._connection is not None and self._connection.is_closed:
            raise AsgiStreamCutShort
        piece = self._file.read(self._sent_bytes, FILE_PIECE_BYTES)
        if not piece:  # it has been shortened, where there are no seals
            raise AsgiStreamCutShort
        self._sent_bytes += len(piece)
        return piece

    async def close(self) -> None:
        """Let go of the connection; Falcon calls this however the response ended."""
        if self._connection is not None:
            self._connection.stream = None
