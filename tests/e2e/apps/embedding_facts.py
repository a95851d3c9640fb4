"""Shared code of the programs in test_embedding.py, which print what they observe as one JSON object."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

from penstock import PenstockError


def open_descriptors() -> list[str]:
    """Return the open descriptors of this process. Sockets and pipes are only named by kind: their numbers change."""
    found = []
    for entry in Path("/proc/self/fd").iterdir():
        try:
            found.append(str(entry.readlink()).partition(":")[0])
        except FileNotFoundError:  # the descriptor of the listing itself
            continue
    return sorted(found)


def worker_pids(status: dict[str, Any]) -> list[int]:
    return [worker["pid"] for pool in status["pools"].values() for worker in pool["workers"]]


def workers_of(status: dict[str, Any], pool: str) -> list[str]:
    return [worker["state"] for worker in status["pools"][pool]["workers"]]


def alive(pids: list[int]) -> list[int]:
    return [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def children() -> list[str]:
    """Return the child processes of this one that still exist, zombies included."""
    return Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()


def threads() -> list[str]:
    return sorted(thread.name for thread in threading.enumerate())


def describe(error: BaseException) -> dict[str, Any]:
    """Return the error's class and text, and the attributes of a Penstock error."""
    known: dict[str, Any] = {"class": type(error).__name__, "text": str(error)}
    if isinstance(error, PenstockError):
        known |= {"status": error.status, "code": error.code, "retryable": error.retryable}
    return known


def report(facts: dict[str, Any]) -> None:
    print(json.dumps(facts))
