"""The job store in PostgreSQL, for the engines of several hosts."""

from __future__ import annotations

import threading
import time
from importlib.util import find_spec
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, create_engine, make_url, text
from sqlalchemy.exc import ArgumentError

from penstock.job_store import (
    StoreChange,
    StoreLimits,
    StoreRejected,
    StoreTransaction,
)
from penstock_jobs.clock_watch import ClockWatch
from penstock_jobs.sql_store import ANYTHING, READERS, SqlJobStore, incarnation
from penstock_jobs.sql_transaction import SqlTransaction

CHANNEL: Final = "penstock_jobs"
LISTEN_SECONDS: Final = 1.0
"""The listener reports this often that anything may have changed, in case a notification was lost."""
PAYLOAD_BYTES: Final = 7900
"""PostgreSQL takes 8000."""
CONNECT_SECONDS: Final = 10
PATIENCE: Final = {
    "connect_timeout": CONNECT_SECONDS,
    "keepalives_idle": 4,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
"""Parameters of libpq, by which a connection to a host that has vanished ends after ten seconds. TCP alone waits for a
quarter of an hour or for hours, and so would all jobs after a failover."""
SLOTS: Final = 16
SCHEMA_LOCK: Final = 7_310_542_909_112_871
"""An arbitrary number: the advisory lock that keeps two engines from creating the tables at the same time."""

CLOCK: Final = text("SELECT extract(epoch FROM clock_timestamp())::double precision")
NOTIFY: Final = text("SELECT pg_notify(:channel, :payload)")


class Notice(msgspec.Struct, array_like=True):
    """The payload of a notification. None: there are too many to name."""

    sender: str
    endpoints: list[str] | None
    jobs: list[str] | None


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Notice).decode


class PostgresJobStore(SqlJobStore):
    """A ``JobStore`` in a PostgreSQL database, which should be its own: long transactions of others slow it down.

    Parameters
    ----------
    url:
        ``postgresql://user@host/database``. Works behind a pooler in transaction mode, except for the notifications,
        without which an engine notices the jobs of another within a second.
    limits:
        The limits of the store.
    """

    def __init__(self, url: str, *, limits: StoreLimits | None = None) -> None:
        super().__init__(limits)
        try:
            parsed = make_url(url)
        except ArgumentError as error:
            raise StoreRejected("the URL of the job store cannot be read; write postgresql://user@host/db") from error
        self._url = parsed.set(drivername="postgresql+psycopg")
        self._patience: dict[str, Any] = {
            name: value for name, value in PATIENCE.items() if name not in self._url.query
        }
        self._sender = incarnation()
        self._slot = hash(self._sender) % SLOTS
        self._clock_watch = ClockWatch()
        self._ending = threading.Event()
        self._listener: threading.Thread | None = None

    def __repr__(self) -> str:
        return f"<PostgresJobStore: {self._url.render_as_string(hide_password=True)}>"

    def _lease_clock(self, connection: Connection) -> float:
        return float(connection.execute(CLOCK).scalar_one())

    def _connect(self) -> None:
        # Prepared statements do not survive a pooler in transaction mode.
        if find_spec("psycopg") is None:
            raise StoreRejected("a job store in PostgreSQL needs psycopg; pip install 'penstock[jobs-postgres]'")
        options: dict[str, Any] = {
            "connect_args": {"prepare_threshold": None, **self._patience},
            "pool_pre_ping": True,
            "max_overflow": 0,
            "pool_timeout": CONNECT_SECONDS,
        }
        self._write_engine = create_engine(self._url, pool_size=1, isolation_level="READ COMMITTED", **options)
        self._read_engine = create_engine(self._url, pool_size=READERS, isolation_level="READ COMMITTED", **options)

    def _prepare(self, connection: Connection) -> None:
        """Create the tables, in one of several engines that start at the same time."""
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": SCHEMA_LOCK})
        super()._prepare(connection)

    def _start_threads(self) -> None:
        super()._start_threads()
        self._listener = threading.Thread(target=self._listen, name="penstock-jobs-listener", daemon=True)
        self._listener.start()

    def close(self) -> None:
        """Finish what was called, and close."""
        self._ending.set()
        if self._is_open:
            self.write(self._wake_listener).add_done_callback(lambda _: None)
        super().close()
        if self._listener is not None:
            self._listener.join()
            self._listener = None

    # ---- owners

    def can_judge(self, tx: StoreTransaction, lease: float) -> bool:
        """Return whether the database's clock has not leaped within a lease."""
        return self._clock_watch.is_steady(tx.lease_now(), time.monotonic(), lease)

    # ---- notifications

    def _wake_listener(self, tx: StoreTransaction) -> None:
        """Notify this store's listener, which then sees that it is to end."""
        assert isinstance(tx, SqlTransaction)
        self._announce(tx.connection, StoreChange(frozenset(), frozenset()))

    def _announce(self, connection: Connection, change: StoreChange) -> None:
        notice = Notice(self._sender, sorted(change.endpoints or ()), sorted(change.jobs or ()))
        payload = _encode(notice)
        if len(payload) > PAYLOAD_BYTES:
            payload = _encode(Notice(self._sender, None, None))
        connection.execute(NOTIFY, {"channel": CHANNEL, "payload": payload.decode()})

    def _listen(self) -> None:
        """Listen until the store closes; whenever that fails, look once a second instead."""
        while not self._ending.is_set():
            try:
                self._listen_once()
            except Exception:  # the database is away: the writer reports it, and here there is nothing to do but wait
                self._tell(ANYTHING)
                self._ending.wait(LISTEN_SECONDS)

    def _listen_once(self) -> None:
        import psycopg  # noqa: PLC0415 - psycopg is an optional dependency

        url = self._url.set(drivername="postgresql").render_as_string(hide_password=False)
        with psycopg.connect(url, autocommit=True, **self._patience) as connection:
            connection.execute(f"LISTEN {CHANNEL}")
            self._tell(ANYTHING)  # before it listened, there may have been anything
            while not self._ending.is_set():
                for notification in connection.notifies(timeout=LISTEN_SECONDS, stop_after=1):
                    self._hear(notification.payload)
                    break
                else:
                    self._tell(ANYTHING)

    def _hear(self, payload: str) -> None:
        notice = _decode(payload)
        if notice.sender != self._sender:
            self._tell(
                StoreChange(
                    None if notice.endpoints is None else frozenset(notice.endpoints),
                    None if notice.jobs is None else frozenset(notice.jobs),
                )
            )
