"""The tables of a job store, for SQLite and PostgreSQL alike.

``jobs`` is narrow: the bodies are apart, so that no change of state rewrites them. The indexes are partial, so that
claims do not slow down with the number of jobs that have ended.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)

metadata = MetaData()

meta = Table(
    "penstock_meta",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("version", Integer, nullable=False),
)

jobs = Table(
    "penstock_jobs",
    metadata,
    Column("id", Text, primary_key=True),
    Column("endpoint", Text, nullable=False),
    Column("principal", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("digest", Text, nullable=False),
    Column("idempotency_key", Text),
    Column("group", Text),
    Column("request_id", Text, nullable=False),
    Column("retry_of", Text),
    Column("webhook", LargeBinary),  # JSON, as are progress and error
    Column("timeout", Double),
    Column("result_ttl", Double, nullable=False),
    Column("record_ttl", Double, nullable=False),
    Column("on_lost", Text, nullable=False),
    Column("max_claims", Integer, nullable=False),
    Column("start_by", Double),
    Column("not_before", Double),
    Column("turn", Double),
    Column("claim", Integer, nullable=False),
    Column("claims", Integer, nullable=False),
    Column("losses", Integer, nullable=False),
    Column("owner", Text),
    Column("cancel_requested", Boolean, nullable=False),
    Column("has_chunks", Boolean, nullable=False),
    Column("progress", LargeBinary),
    Column("started_at", Double),
    Column("finished_at", Double),
    Column("code", Text),
    Column("error", LargeBinary),
    Column("bodies_until", Double),
    Column("delete_after", Double),
    Column("events", Integer, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("body_bytes", BigInteger, nullable=False),
)


def _partial_index(name: str, condition: str, *columns: str, unique: bool = False) -> None:
    """Add an index of the rows of ``jobs`` that fulfil a condition, which a query must repeat word for word."""
    where = text(condition)
    listed = [jobs.c[column] for column in columns]
    Index(f"penstock_jobs_{name}", *listed, unique=unique, sqlite_where=where, postgresql_where=where)


# The columns after the id are there so that the claim reads the head of a queue from the index alone.
READY: Final = "state = 'queued' AND turn IS NOT NULL"
_partial_index("ready", READY, "endpoint", "turn", "id", "principal", "start_by")
_partial_index("due", "state = 'queued' AND turn IS NULL", "not_before")
_partial_index("late", "state = 'queued' AND start_by IS NOT NULL", "start_by")
_partial_index("owner", "owner IS NOT NULL", "owner")
_partial_index("key", "idempotency_key IS NOT NULL", "principal", "idempotency_key", unique=True)
_partial_index("bodies", "bodies_until IS NOT NULL", "bodies_until")
_partial_index("records", "delete_after IS NOT NULL", "delete_after")
_partial_index("group", '"group" IS NOT NULL', "group", "created_at", "id")
Index("penstock_jobs_created", jobs.c.created_at, jobs.c.id)
Index("penstock_jobs_principal", jobs.c.principal, jobs.c.created_at, jobs.c.id)

bodies = Table(
    "penstock_job_bodies",
    metadata,
    Column("job", Text, primary_key=True),
    Column("request", LargeBinary),  # NULL once it has been removed
    Column("media_type", Text, nullable=False),
    Column("head", LargeBinary),
    Column("metadata", LargeBinary, nullable=False),  # JSON
    Column("result", LargeBinary),
    Column("result_type", Text),
    Column("result_status", Integer),
    Column("result_headers", LargeBinary),  # JSON
)

events = Table(
    "penstock_job_events",
    metadata,
    Column("job", Text, primary_key=True),
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("kind", Text, nullable=False),
    Column("data", LargeBinary, nullable=False),
    Column("at", Double, nullable=False),
)

deliveries = Table(
    "penstock_deliveries",
    metadata,
    Column("id", Text, primary_key=True),
    Column("job", Text, nullable=False),
    Column("seq", Integer, nullable=False),
    Column("event", Text, nullable=False),
    Column("url", Text, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("next_at", Double, nullable=False),
    Column("state", Text, nullable=False),
    Column("owner", Text),
    Column("claim", Integer, nullable=False),
    Column("sent", Integer, nullable=False),
    Column("status", Integer),
    Column("error", Text),
    UniqueConstraint("job", "seq"),
)
Index(
    "penstock_deliveries_waiting",
    deliveries.c.next_at,
    deliveries.c.id,
    sqlite_where=text("state = 'waiting'"),
    postgresql_where=text("state = 'waiting'"),
)
Index(
    "penstock_deliveries_owner",
    deliveries.c.owner,
    sqlite_where=text("owner IS NOT NULL"),
    postgresql_where=text("owner IS NOT NULL"),
)

owners = Table(
    "penstock_owners",
    metadata,
    Column("id", Text, primary_key=True),
    Column("host", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("registered_at", Double, nullable=False),
    Column("beat", Double, nullable=False),
)

# The last claim by endpoint and principal: whose turn is next.
served = Table(
    "penstock_served",
    metadata,
    Column("endpoint", Text, primary_key=True),
    Column("principal", Text, primary_key=True),
    Column("at", Double, nullable=False, index=True),
)

schedules = Table(
    "penstock_schedules",
    metadata,
    Column("name", Text, primary_key=True),
    Column("last_nominal", Double, nullable=False),
)

# The sum over the slots counts. A store writes to one of them, so that stores seldom wait for each other's rows.
tallies = Table(
    "penstock_tallies",
    metadata,
    Column("endpoint", Text, primary_key=True),
    Column("state", Text, primary_key=True),
    Column("slot", Integer, primary_key=True, autoincrement=False),
    Column("jobs", BigInteger, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
)
