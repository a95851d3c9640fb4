"""``penstock reload``: have a running server load its code again, and wait for the outcome."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import NoReturn

import click

from penstock_gunicorn import PidFileError, ReloadRecord, published_by, read_pid_file

POLL_SECONDS = 0.05


def reload_server(pid_file: Path | None, pid: int | None, timeout: float) -> None:
    """Reload, and wait until the new generation serves.

    Raises
    ------
    click.UsageError
        If there is no such server; exit code 2.
    SystemExit
        With exit code 1 if the reload fails, the server ends, or the time is over.
    """
    if (pid_file is None) == (pid is None):
        raise click.UsageError("Name the server by one of --pid-file and --pid.")
    if pid is None:
        assert pid_file is not None, "one of them has a value"
        try:
            pid = read_pid_file(pid_file)
        except PidFileError as error:
            raise click.UsageError(f"{error}.") from None
    record = _record_of(pid)
    number = record.begun + 1
    os.kill(pid, signal.SIGHUP)
    deadline = time.monotonic() + timeout
    while record.ended < number:
        if time.monotonic() >= deadline:
            _fail(f"the reload has not ended within {timeout:g} s; the old code serves, and the log says how far it is")
        time.sleep(POLL_SECONDS)
        try:
            found = published_by(pid)
        except (ProcessLookupError, PermissionError):
            found = None
        if found is None:
            _fail("the server has ended")
        record = found
    reason = (record.failures or {}).get(str(number))
    if reason is not None:
        _fail(f"the reload has failed, and the old code goes on serving: {reason}")
    click.echo(f"penstock: generation {record.generation} serves")


def _record_of(pid: int) -> ReloadRecord:
    try:
        record = published_by(pid)
    except ProcessLookupError:
        raise click.UsageError(f"There is no process {pid}: the server has ended, or the pid file is stale.") from None
    except PermissionError:
        raise click.UsageError(f"Process {pid} belongs to another user: run the command as that user.") from None
    if record is None:
        raise click.UsageError(f"Process {pid} is not a server of penstock serve.")
    if record.pid != pid:
        raise click.UsageError(f"Process {pid} is part of a server; its master is process {record.pid}.")
    return record


def _fail(message: str) -> NoReturn:
    click.echo(f"penstock: {message}", err=True)
    sys.exit(1)
