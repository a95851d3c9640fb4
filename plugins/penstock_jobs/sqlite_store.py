"""The job store in a file of SQLite, for the engines of one host."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DatabaseError
from sqlalchemy.pool import ConnectionPoolEntry, NullPool, QueuePool

from penstock.job_store import StoreLimits, StoreOwner, StoreRejected, SweepResult
from penstock_jobs import schema
from penstock_jobs.owner_locks import OwnerLocks
from penstock_jobs.sql_store import ANYTHING, POLL_SECONDS, READERS, SqlJobStore

NETWORK_FILE_SYSTEMS: Final = frozenset(
    {
        *("9p", "afpfs", "afs", "beegfs", "ceph", "cifs", "davfs", "gfs2", "glusterfs", "gpfs", "lustre", "ncpfs"),
        *("nfs", "nfs4", "ocfs2", "orangefs", "smb2", "smb3", "smbfs"),
        *("fuse.glusterfs", "fuse.s3fs", "fuse.sshfs"),
    }
)
MOUNTS: Final = Path("/proc/self/mountinfo")
WAL_LIMIT_BYTES: Final = 64 << 20


class SqliteJobStore(SqlJobStore):
    """A ``JobStore`` in one file, which the engines of one host share.

    A call is done when it is on the disk: a power cut loses nothing that was accepted.

    Parameters
    ----------
    path:
        The file, on a local disk. It is created if it is missing; its folder must exist.
    limits:
        The limits of the store.
    lease_clock:
        The clock of the leases, which all engines of the host share.
    busy_timeout:
        The seconds for which a call waits for another process that writes.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        limits: StoreLimits | None = None,
        lease_clock: Callable[[], float] = time.monotonic,
        busy_timeout: float = 30.0,
    ) -> None:
        super().__init__(limits)
        self._path = Path(path).absolute()
        self._clock = lease_clock
        self._busy_timeout = busy_timeout
        self._locks = OwnerLocks(self._path.with_name(self._path.name + ".owners"))
        self._writing: sqlite3.Connection | None = None
        self._data_version: int | None = None
        self._next_look = 0.0

    def __repr__(self) -> str:
        return f"<SqliteJobStore: {self._path}>"

    def _name(self) -> str:
        return str(self._path)

    def _lease_clock(self, connection: Connection) -> float:  # noqa: ARG002 - of other databases, theirs is asked
        return self._clock()

    def _connect(self) -> None:
        require_local(self._path)
        if not self._path.parent.is_dir():
            raise StoreRejected(f"there is no folder {self._path.parent} for the job store; create it")
        try:
            self._check_file()
            self._write_engine = self._engine("IMMEDIATE", 1)
            event.listen(self._write_engine, "connect", self._writes_on)
            self._read_engine = self._engine("DEFERRED", READERS)
            with self._write_engine.connect() as connection:
                mode = connection.exec_driver_sql("PRAGMA journal_mode").scalar()
        except DatabaseError as error:
            if isinstance(error.orig, sqlite3.OperationalError):
                raise
            raise StoreRejected(
                f"{self._path} cannot be read as a database of SQLite ({error.orig}); it was not changed. "
                "Restore it from a backup, or name another file"
            ) from error
        if mode != "wal":
            raise StoreRejected(f"{self._path} cannot use a write-ahead log, but {mode}; put it on a local disk")

    def _check_file(self) -> None:
        """Check what is in the file before anything is written to it: turning on the write-ahead log is a change."""
        if self._path.exists():
            engine = create_engine("sqlite://", creator=self._open_plain, poolclass=NullPool)
            with engine.connect() as connection:
                (schema.require if self.must_exist else schema.check)(connection, self._name())
        elif self.must_exist:
            raise StoreRejected(f"there is no file {self._path}; a server creates it when it starts")

    def _engine(self, begin: str, size: int) -> Engine:
        engine = create_engine("sqlite://", creator=self._open, poolclass=QueuePool, pool_size=size, max_overflow=0)
        event.listen(engine, "begin", lambda connection: connection.exec_driver_sql(f"BEGIN {begin}"))
        return engine

    def _open_plain(self) -> sqlite3.Connection:
        # Autocommit of the driver: transactions begin where SQLAlchemy begins them, see ``_engine``.
        return sqlite3.connect(self._path, timeout=self._busy_timeout, isolation_level=None, check_same_thread=False)

    def _open(self) -> sqlite3.Connection:
        connection = self._open_plain()
        settings = ("journal_mode = WAL", "synchronous = FULL", f"journal_size_limit = {WAL_LIMIT_BYTES}")
        try:
            for setting in (*settings, "temp_store = MEMORY"):
                connection.execute(f"PRAGMA {setting}")
        except BaseException:
            connection.close()
            raise
        return connection

    def _writes_on(self, connection: sqlite3.Connection, _record: ConnectionPoolEntry) -> None:
        """Note the connection of the writer. If it replaces another one, what others did in between is news."""
        self._data_version = _data_version(connection) if self._writing is None else None
        self._writing = connection

    def _look_for_commits(self) -> None:
        """Compare the number that SQLite changes with each commit of another connection.

        The driver is asked without SQLAlchemy's pool, which would cost 15 times as much, 20 times a second: only this
        thread uses the connection, and no transaction is open.
        """
        if self._writing is None or time.monotonic() < self._next_look:
            return
        self._next_look = time.monotonic() + POLL_SECONDS
        try:
            found = _data_version(self._writing)
        except sqlite3.Error:
            return  # the next write reports it
        known, self._data_version = self._data_version, found
        if known != found:
            self._tell(ANYTHING)

    # ---- owners

    def register(self, owner: StoreOwner, *, now: float) -> Future[None]:
        """Add an owner, with a lock that shows that it is alive."""
        self._locks.take(owner.id)
        return super().register(owner, now=now)

    def remove(self, owner: str, *, now: float) -> Future[int]:
        """Remove an owner and its lock."""
        future = super().remove(owner, now=now)
        future.add_done_callback(lambda _: self._locks.release(owner))
        return future

    def dead_owners(self) -> list[str]:
        """Return the owners of this host whose processes have ended."""
        return self._locks.dead()

    def sweep(self, *, now: float, lease: float = 30.0) -> Future[SweepResult]:
        """Free the jobs of dead owners: by their locks at once, otherwise when their leases end."""
        future = super().sweep(now=now, lease=lease)
        future.add_done_callback(self._forget_swept)
        return future

    def _forget_swept(self, future: Future[SweepResult]) -> None:
        if not future.cancelled() and future.exception() is None:
            self._locks.forget(future.result().owners)

    def close(self) -> None:
        """Close the store; owners that are still registered count as dead."""
        super().close()
        self._locks.abandon()


def _data_version(connection: sqlite3.Connection) -> int:
    [version] = connection.execute("PRAGMA data_version").fetchone()
    return int(version)


def require_local(path: Path) -> None:
    """Check that a path is not on a network file system, where the locks of SQLite cannot be relied on.

    Raises
    ------
    StoreRejected
        If it is.
    """
    kind = file_system_of(path)
    if kind in NETWORK_FILE_SYSTEMS:
        raise StoreRejected(
            f"{path} is on a network file system ({kind}), on which SQLite loses data; "
            "put the file on a local disk, or use PostgreSQL"
        )


def file_system_of(path: Path) -> str | None:
    """Return the kind of file system that a path is on, as Linux names it; None if that is unknown."""
    try:
        lines = MOUNTS.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return None
    target = path.parent.resolve()
    best: tuple[int, str] | None = None
    for line in lines:
        before, _, after = line.partition(" - ")
        point = Path(before.split()[4].replace("\\040", " "))
        # The later of two mounts on one point hides the earlier one.
        if target.is_relative_to(point) and (best is None or len(point.parts) >= best[0]):
            best = len(point.parts), after.split()[0]
    return None if best is None else best[1]
