"""The output of a running job until it is in the store: its progress, and the chunks of its stream."""

from __future__ import annotations

from typing import Final

from penstock.hooks import Progress, split_chunk
from penstock.job_store import ChunkReport, ProgressReport

GROUP_SECONDS: Final = 0.1
"""Reports are written together, at most this often: each write is a commit."""
JSON: Final = "application/json"
JSON_LINES: Final = "application/x-ndjson"


class JobOutput:
    """Reports that wait, and the result of a stream so far.

    Attributes
    ----------
    size_bytes:
        The size of all chunks so far.
    """

    def __init__(self) -> None:
        self._progress: ProgressReport | None = None
        self._waiting: list[bytes] = []
        self._chunks: list[bytes] = []
        self.size_bytes = 0

    def __repr__(self) -> str:
        return f"<JobOutput: {len(self._chunks)} chunks, {len(self._waiting)} waiting>"

    @property
    def is_waiting(self) -> bool:
        """True if there is something to write."""
        return self._progress is not None or bool(self._waiting)

    def note(self, report: Progress) -> None:
        """Keep a report of the handler. The last one counts."""
        self._progress = ProgressReport(report.done, report.total, report.message)

    def add(self, chunks: list[bytes]) -> None:
        """Add chunks of the stream."""
        self._waiting += chunks
        self._chunks += chunks
        self.size_bytes += sum(map(len, chunks))

    def take(self) -> list[ProgressReport | ChunkReport]:
        """Return what is to be written now."""
        reports: list[ProgressReport | ChunkReport] = [ChunkReport(chunk) for chunk in self._waiting]
        if self._progress is not None:
            reports.append(self._progress)
        self._progress, self._waiting = None, []
        return reports

    def joined(self, media_type: str | None) -> tuple[bytes, str]:
        """Return the result of a stream that has ended, with its type: lines of JSON, or the bytes as they came."""
        if media_type is not None:
            return b"".join(self._chunks), media_type
        return b"".join(split_chunk(chunk)[1] + b"\n" for chunk in self._chunks), JSON_LINES
