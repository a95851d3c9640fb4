"""A real PostgreSQL for tests: on a Unix socket of its own, as another user where the tests run as root."""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.serving import wait_until

OTHER_USERS = ("postgres", "nobody")


def _find_programs() -> Path | None:
    """Return the folder with ``initdb`` and ``postgres``; Debian does not put it on the path."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: path.parent.name)
    on_path = shutil.which("postgres")
    if on_path is not None:
        folders.append(Path(on_path).resolve().parent)
    return next((folder for folder in reversed(folders) if (folder / "initdb").exists()), None)


PROGRAMS = _find_programs()
needs_postgres = pytest.mark.skipif(PROGRAMS is None, reason="there is no PostgreSQL: apt-get install postgresql")


def _as_other_user() -> dict[str, Any]:
    """Return the arguments for a process that PostgreSQL does not refuse: it does not run as root."""
    if os.getuid() != 0:
        return {}
    known = {entry.pw_name: entry for entry in pwd.getpwall()}
    user = next(known[name] for name in OTHER_USERS if name in known)
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


class PostgresServer:
    """A server without safety against power cuts, which makes it quick."""

    def __init__(self, folder: Path) -> None:
        assert PROGRAMS is not None
        self._programs = PROGRAMS
        self._folder = folder
        self._data = folder / "data"
        self._user = _as_other_user()
        self._numbers = itertools.count(1)
        self._process: subprocess.Popen[bytes] | None = None
        if self._user:
            os.chown(folder, self._user["user"], self._user["group"])
        self._run(
            "initdb", "-D", str(self._data), "-A", "trust", "-U", "penstock", "--no-sync", "-E", "UTF8", "--locale=C"
        )

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._programs / program), *arguments]
        subprocess.run(command, check=True, capture_output=True, timeout=60, cwd=self._folder, **self._user)

    def url(self, database: str) -> str:
        return f"postgresql://penstock@/{database}?host={self._folder}"

    def url_at(self, address: str, database: str) -> str:
        """Return the URL of a database behind a proxy."""
        return f"postgresql://penstock@{address}/{database}?sslmode=disable"

    @property
    def socket_path(self) -> Path:
        return self._folder / ".s.PGSQL.5432"

    def start(self, *settings: str, environment: Mapping[str, str] | None = None) -> None:
        """Start it with the data that it had; ``settings`` are such as ``max_connections=20``."""
        defaults = ("listen_addresses=", f"unix_socket_directories={self._folder}", "fsync=off", "max_connections=100")
        options = [word for setting in (*defaults, *settings) for word in ("-c", setting)]
        self._process = subprocess.Popen(
            [str(self._programs / "postgres"), "-D", str(self._data), *options],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=self._folder,
            env={**os.environ, **(environment or {})},
            **self._user,
        )
        wait_until(self.answers, "PostgreSQL to answer")

    def answers(self) -> bool:
        try:
            psycopg.connect(self.url("postgres"), connect_timeout=2).close()
        except psycopg.Error:
            return False
        return True

    def stop(self, signal_number: int = signal.SIGQUIT) -> None:
        """Stop it at once, as an immediate shutdown does: connections are cut, and it recovers at the next start.

        ``SIGINT`` is a proper shutdown, and ``SIGKILL`` none at all.
        """
        if self._process is not None:
            before = self.processes()[1:]
            self._process.send_signal(signal_number)
            self._process.wait(timeout=30)
            self._process = None
            # After a kill they notice by themselves, and a new server refuses to start beside them.
            wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in before), "the ends of its processes")

    def processes(self) -> list[int]:
        """Return the ids of its processes, the first one's first."""
        assert self._process is not None
        return [self._process.pid, *_children(self._process.pid)]

    def end_connections(self, database: str, condition: str = "true") -> int:
        """End the connections to a database for which a condition holds; return their number."""
        query = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}' AND {condition}"
        return len(self.execute(query))

    def execute(self, statement: str, database: str = "postgres") -> list[Any]:
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            cursor = connection.execute(statement)  # type: ignore[call-overload] # tests write their SQL themselves
            return cursor.fetchall() if cursor.description else []

    def new_database(self) -> str:
        name = f"jobs_{next(self._numbers)}"
        self.execute(f"CREATE DATABASE {name}")
        return name

    def drop(self, database: str) -> None:
        self.execute(f"DROP DATABASE {database} WITH (FORCE)")


@contextmanager
def running_postgres() -> Iterator[PostgresServer]:
    # Not in pytest's folder: another user cannot enter that, and the path of a socket has room for 107 characters.
    folder = Path(tempfile.mkdtemp(prefix="penstock-pg-"))
    server = None
    try:
        server = PostgresServer(folder)
        server.start()
        yield server
    finally:
        if server is not None:
            server.stop()
        shutil.rmtree(folder)
