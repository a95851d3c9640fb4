"""Sockets are closed at an instant at which nothing has arrived unseen, by means of packet filters of the kernel.

Between the look at a socket and its end, the kernel may accept a connection, or a piece of a request, and acknowledge
it: it would be lost. A filter has the kernel drop what arrives from then on, without a word, as a network does. The
sender sends it again, and by then the socket is gone: the connection is refused, or the request was never accepted.

Linux only; elsewhere, and where a sandbox forbids them, the functions do nothing, and the gap is a few microseconds.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import socket
import struct
import sys
import termios
from typing import Any, Final

_ATTACH_FILTER: Final = 26
_DETACH_FILTER: Final = 27
_INSTRUCTION: Final = struct.Struct("HBBI")  # the kernel's ``struct sock_filter``
_PROGRAM: Final = struct.Struct("HP")  # ``struct sock_fprog``

# Operations of the classic BPF; a filter of a TCP socket sees packets from their TCP header on.
_LOAD_BYTE, _LOAD_LENGTH, _AND, _SHIFT_RIGHT, _TO_X, _SUBTRACT_X, _IF_EQUAL, _RETURN = (
    0x30, 0x80, 0x54, 0x74, 0x07, 0x1C, 0x15, 0x06,
)  # fmt: skip
_DATA_OFFSET, _FLAGS, _SYN, _SYN_OR_ACK, _KEEP = 12, 13, 0x02, 0x12, 0xFFFFFFFF

# The first packet of a handshake is dropped, the later ones are not.
_WITHOUT_HANDSHAKES: Final = (
    (_LOAD_BYTE, 0, 0, _FLAGS),
    (_AND, 0, 0, _SYN_OR_ACK),
    (_IF_EQUAL, 0, 1, _SYN),
    (_RETURN, 0, 0, 0),
    (_RETURN, 0, 0, _KEEP),
)
# A packet that is longer than its header is dropped.
_WITHOUT_DATA: Final = (
    (_LOAD_BYTE, 0, 0, _DATA_OFFSET),
    (_AND, 0, 0, 0xF0),
    (_SHIFT_RIGHT, 0, 0, 2),
    (_TO_X, 0, 0, 0),
    (_LOAD_LENGTH, 0, 0, 0),
    (_SUBTRACT_X, 0, 0, 0),
    (_IF_EQUAL, 0, 1, 0),
    (_RETURN, 0, 0, _KEEP),
    (_RETURN, 0, 0, 0),
)


def drop_handshakes(listener: Any) -> None:
    """Have the kernel begin no more connections on this listening socket; those that it has begun go on."""
    _attach(listener, _WITHOUT_HANDSHAKES)


def drop_data(connection: Any) -> None:
    """Have the kernel accept no more data on this connection."""
    _attach(connection, _WITHOUT_DATA)


def keep_data(connection: Any) -> None:
    """Undo ``drop_data``. The other end sends again what has been dropped."""
    if _applies_to(connection):
        with contextlib.suppress(OSError):
            connection.setsockopt(socket.SOL_SOCKET, _DETACH_FILTER, 0)


def end_stream(connection: Any) -> None:
    """Let the other end know that nothing more will come; the loop's own objects do this only in their next turn."""
    with (
        contextlib.suppress(OSError),
        socket.fromfd(connection.fileno(), connection.family, socket.SOCK_STREAM) as twin,
    ):
        twin.shutdown(socket.SHUT_WR)


def unread_bytes(connection: Any) -> int:
    """Return how many bytes have arrived on a connection and are still to be read."""
    count = bytearray(struct.calcsize("i"))
    try:
        fcntl.ioctl(connection.fileno(), termios.FIONREAD, count)
    except (OSError, ValueError):
        return 0
    return int(struct.unpack("i", count)[0])


def _applies_to(sock: Any) -> bool:
    return sys.platform == "linux" and sock.family in (socket.AF_INET, socket.AF_INET6)


def _attach(sock: Any, instructions: tuple[tuple[int, int, int, int], ...]) -> None:
    if not _applies_to(sock):
        return
    code = ctypes.create_string_buffer(b"".join(_INSTRUCTION.pack(*instruction) for instruction in instructions))
    program = _PROGRAM.pack(len(instructions), ctypes.addressof(code))
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, program)
