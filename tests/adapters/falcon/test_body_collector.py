"""A body that arrives in pieces: when it goes into a file, on what, and what happens if there is no room."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from penstock import App
from penstock.errors import PayloadTooLarge, QueueFull
from penstock.hosting import LARGE_BODY_BYTES, BodyFile
from penstock_falcon.request_checks import BodyBudget, BodyCollector, RequestChecks
from penstock_falcon.service import Settings
from tests.adapters.falcon.fake_engine import FakeEngine

PIECE = bytes(range(256)) * 1000
COUNT = LARGE_BODY_BYTES // len(PIECE) + 2
LARGE = PIECE * COUNT
SPILL_ABOVE = 2 * LARGE_BODY_BYTES

app = App(__name__)


@app.endpoint("/size")
def size(body: bytes) -> int:
    return len(body)


class WideBudget(BodyBudget):
    """A budget without bounds."""

    def __init__(self) -> None:
        engine: Any = FakeEngine()
        super().__init__(engine, app.endpoints[0])

    def cover(self, size_bytes: int) -> None:
        """Cover any size."""


def collected(collector: BodyCollector, count: int = COUNT) -> Any:
    """Return the body of ``count`` pieces."""
    for _ in range(count):
        collector.add(PIECE)
        if collector.is_due:
            collector.write_out()
    return collector.finish()


@contextmanager
def no_descriptors() -> Iterator[None]:
    """Let this process open nothing."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("is_on_disk", [False, True])
def test_a_large_body_is_in_a_file(is_on_disk: bool) -> None:
    """The whole of it, in order, sealed."""
    body = collected(BodyCollector(1 << 30, has_file=True, is_on_disk=is_on_disk))
    assert isinstance(body, BodyFile)
    assert (len(body), body.read_all(), body.is_in_memory) == (len(LARGE), LARGE, not is_on_disk)
    with pytest.raises(OSError):
        os.pwrite(body.fileno(), b"x", 0)


@pytest.mark.parametrize("is_on_disk", [False, True])
def test_a_body_that_stays_small_is_bytes(is_on_disk: bool) -> None:
    """Although its length was not known."""
    assert collected(BodyCollector(1 << 30, has_file=True, is_on_disk=is_on_disk), 3) == PIECE * 3


def test_what_is_not_for_an_engine_in_this_process_is_bytes() -> None:
    """Frames to an engine in another process carry the body."""
    assert collected(RequestChecks(app.endpoints[0], 1 << 30).collector(len(LARGE), None)) == LARGE


@pytest.mark.parametrize(
    ("announced", "max_body", "is_on_disk"),
    [
        (SPILL_ABOVE, 1 << 30, False),
        (SPILL_ABOVE + 1, 1 << 30, True),
        (None, SPILL_ABOVE, False),
        (None, SPILL_ABOVE + 1, True),
    ],
)
def test_what_may_grow_beyond_the_bound_goes_to_a_disk(announced: int | None, max_body: int, is_on_disk: bool) -> None:
    """Decided when it begins, since a file in memory cannot be moved to a disk without a pause."""
    checks = RequestChecks(app.endpoints[0], max_body, SPILL_ABOVE)
    assert collected(checks.collector(announced, WideBudget())).is_in_memory is not is_on_disk


@pytest.mark.parametrize("is_on_disk", [False, True])
def test_without_a_descriptor_the_body_stays_bytes(is_on_disk: bool) -> None:
    """A server that has used up its descriptors still answers."""
    collector = BodyCollector(1 << 30, has_file=True, is_on_disk=is_on_disk)
    with no_descriptors():
        assert collected(collector) == LARGE


def test_without_a_folder_the_body_stays_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """A container may have a root that is read-only, and no other folder."""
    monkeypatch.setattr("tempfile.tempdir", "/no/such/folder")
    assert collected(BodyCollector(1 << 30, has_file=True, is_on_disk=True)).is_in_memory


def test_a_full_disk_refuses_the_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a full queue does: the client may try again."""

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(BodyFile, "write", fail)
    with pytest.raises(QueueFull, match="No space left"):
        collected(BodyCollector(1 << 30, has_file=True, is_on_disk=True))


def test_the_limit_holds_for_files() -> None:
    """The piece that exceeds it is refused, and what had arrived is dropped."""
    collector = BodyCollector(len(LARGE) - 1, has_file=True)
    with pytest.raises(PayloadTooLarge):
        collected(collector)
    collector.drop()
    assert collector._file is None


@pytest.mark.parametrize(
    ("max_body", "max_waiting", "most"),
    [(16 << 20, None, 256 << 20), (256 << 20, None, 1 << 30), (256 << 20, 1 << 20, 1 << 20)],
)
def test_several_of_the_largest_bodies_may_wait(max_body: int, max_waiting: int | None, most: int) -> None:
    """Unless the operator says otherwise."""
    assert Settings(max_body=max_body, max_waiting=max_waiting).most_waiting == most
