"""The files of large bodies: sealed, nameless, and passed on through sockets."""

from __future__ import annotations

import os
import resource
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from penstock.body_files import BodyFile, FileMissingError, receive_file, send_file

BODY = b"0123456789" * 1000

KINDS: dict[str, Callable[[], BodyFile]] = {"in memory": BodyFile.in_memory, "on a disk": BodyFile.on_disk}


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        theirs.setblocking(False)
        yield ours, theirs


def written(kind: str) -> BodyFile:
    """Return a sealed file with the body, written in two pieces."""
    file = KINDS[kind]()
    file.write(BODY[:7])
    file.write(memoryview(BODY)[7:])
    file.seal()
    return file


def open_descriptors() -> set[str]:
    """Return the descriptors of this process, without the one of the listing itself."""
    return {path.name for path in list(Path("/proc/self/fd").iterdir()) if os.path.lexists(path)}


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_written_is_read(kind: str) -> None:
    """The whole, any part, and nothing after the end."""
    file = written(kind)
    assert (len(file), file.read_all(), file.read(5, 10)) == (len(BODY), BODY, BODY[5:15])
    assert (file.read(len(BODY) - 3, 10), file.read(len(BODY), 10)) == (BODY[-3:], b"")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has seals")
def test_a_sealed_file_cannot_be_changed() -> None:
    """Not through this descriptor, and not through one that is opened for writing anew."""
    file = written("in memory")
    for descriptor in (file.fileno(), os.open(f"/proc/self/fd/{file.fileno()}", os.O_RDWR)):
        with pytest.raises(PermissionError):
            os.pwrite(descriptor, b"x", 0)
        for size_bytes in (0, len(BODY) + 1):
            with pytest.raises(PermissionError):
                os.truncate(descriptor, size_bytes)
    os.close(descriptor)
    assert file.is_trustworthy
    assert file.read_all() == BODY


def test_a_file_on_a_disk_has_no_name_and_is_passed_on_for_reading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So nothing stays behind, whichever process dies, and a worker does not change it by mistake."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    file = BodyFile.on_disk()
    assert list(tmp_path.iterdir()) == []
    file.write(BODY)
    file.seal()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.write(file.fileno(), b"x")


def test_a_shortened_file_is_noticed(tmp_path: Path) -> None:
    """Where there are no seals, reading it is an error and no crash."""
    path = tmp_path / "body"
    path.write_bytes(BODY)
    file = BodyFile(os.open(path, os.O_RDONLY), len(BODY))
    os.truncate(path, 10)
    assert not file.is_trustworthy
    with pytest.raises(OSError, match="only 10 of"):
        file.read_all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_goes_through_a_socket(kind: str, ends: tuple[socket.socket, socket.socket]) -> None:
    """The receiver has the same bytes, also once the sender has closed its own."""
    file = written(kind)
    assert send_file(ends[0], file)
    file.close()
    received = receive_file(ends[1], len(BODY))
    assert received.read_all() == BODY
    assert not os.get_inheritable(received.fileno())


def test_files_arrive_in_their_order(ends: tuple[socket.socket, socket.socket]) -> None:
    """One for each call, although they were sent together."""
    for size_bytes in (1, 2, 3):
        assert send_file(ends[0], BodyFile.of(bytes(size_bytes)))
    assert [receive_file(ends[1], size_bytes).is_trustworthy for size_bytes in (1, 2, 3)] == [True] * 3


def test_no_room_is_no_error(ends: tuple[socket.socket, socket.socket]) -> None:
    """The sender learns that it has to find another way."""
    file = BodyFile.of(BODY)
    results = [send_file(ends[0], file) for _ in range(2000)]
    assert (results[0], results[-1]) == (True, False)


def test_what_was_not_sent_is_missing(ends: tuple[socket.socket, socket.socket]) -> None:
    """Nothing at all, or a byte without a file."""
    with pytest.raises(FileMissingError):
        receive_file(ends[1], 1)
    ends[0].send(b"f")
    with pytest.raises(FileMissingError):
        receive_file(ends[1], 1)
    ends[0].close()
    with pytest.raises(FileMissingError):
        receive_file(ends[1], 1)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems report it in other ways")
def test_a_receiver_without_descriptors_says_so(ends: tuple[socket.socket, socket.socket]) -> None:
    """It differs from a file that was not sent: the sender is not to blame. The next one arrives."""
    for _ in range(2):
        assert send_file(ends[0], BodyFile.of(BODY))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            receive_file(ends[1], len(BODY))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert receive_file(ends[1], len(BODY)).read_all() == BODY


@pytest.mark.parametrize("size_bytes", [10, 5 << 20])
def test_a_file_is_closed_when_nothing_refers_to_it(size_bytes: int) -> None:
    """A large one in a thread, since that takes a while."""
    before = open_descriptors()
    file = BodyFile.of(bytes(size_bytes))
    assert len(open_descriptors()) == len(before) + 1
    del file
    for _ in range(1000):
        if open_descriptors() == before:
            return
        os.sched_yield()
    assert open_descriptors() == before


def test_closing_twice_closes_nothing_else() -> None:
    """The number may belong to another file by then."""
    file = BodyFile.of(BODY)
    file.close()
    other = os.open("/dev/null", os.O_RDONLY)
    file.close()
    del file
    os.fstat(other)
    os.close(other)
