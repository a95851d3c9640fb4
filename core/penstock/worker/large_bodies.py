"""Large bodies in a worker: those of results are written to files, and those of requests are read from them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from penstock.body_files import BodyFile
from penstock.response import Encoded
from penstock.wire import MAX_FRAME_BYTES, Failure, Run

LARGE_RESULT_BYTES: Final = (4 << 20) + (64 << 10)
"""A result above this size is passed on in a file. In a frame, a smaller one costs less, and holds no loop for long.

4 MiB of data, and room for what describes them: a tensor of 4 MiB takes 1.2 times as long as its bytes alone in a
frame, and 1.7 times in a file.
"""


def set_aside(result: Encoded) -> Encoded:
    """Return a result with its body in a file, if it is large.

    Writing the file takes a while, so it is done where the user's code runs, not in the loop.
    """
    body: Any = result.body
    if not LARGE_RESULT_BYTES < len(body) <= MAX_FRAME_BYTES or isinstance(body, BodyFile):
        return result
    try:
        file: Any = BodyFile.of(body)
    except OSError:  # no descriptor or no memory is left: it goes through the socket
        return result
    return Encoded(file, result.media_type, result.status, result.headers)


def set_aside_all(results: list[Encoded | Failure]) -> None:
    """Set aside each large body of a batch."""
    for place, result in enumerate(results):
        if isinstance(result, Encoded):
            results[place] = set_aside(result)


def file_of(result: Encoded | Failure) -> BodyFile | None:
    """Return the file with the body of a result, or None if it is not in one."""
    body: Any = getattr(result, "body", None)
    return body if isinstance(body, BodyFile) else None


def load(run: Run, files: Sequence[BodyFile | None]) -> None:
    """Read the bodies of a run that are in files, and close the files in any case.

    Raises
    ------
    OSError, MemoryError
        If one cannot be read, or there is no memory for it.
    """
    try:
        for work, file in zip(run.works, files, strict=True):
            if file is not None:
                work.body = file.read_all()
    finally:
        close_all(files)


def close_all(files: Sequence[BodyFile | None]) -> None:
    """Close these files."""
    for file in files:
        if file is not None:
            file.close()
