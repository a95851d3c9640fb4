"""The version of the tables: checked, created or brought up to date when a store is opened. Nothing is overwritten."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from sqlalchemy import Connection, inspect, select

from penstock.job_store import StoreRejected
from penstock_jobs.tables import meta, metadata

MIGRATIONS: Final[list[Callable[[Connection], None]]] = []
"""The n-th of them, counted from 1, brings tables of version n to version n + 1."""


def version() -> int:
    """Return the version of the tables that this code reads and writes."""
    return len(MIGRATIONS) + 1


def check(connection: Connection, name: str) -> int | None:
    """Return the version of the tables; None if there are none yet. Nothing is changed.

    Parameters
    ----------
    connection:
        A connection to the database.
    name:
        The name of the database, for messages.

    Raises
    ------
    StoreRejected
        If the tables are of a later version, or are not those of a job store.
    """
    tables = set(inspect(connection).get_table_names())
    if meta.name not in tables:
        _check_foreign(connection, name, tables)
        return None
    found = connection.execute(select(meta.c.version)).scalars().all()
    if len(found) != 1:
        raise StoreRejected(f"{name} has {len(found)} rows in {meta.name} instead of one; restore it from a backup")
    stored = int(found[0])
    if stored > version():
        raise StoreRejected(
            f"{name} was written by a later version of Penstock (tables of version {stored}, this one knows "
            f"{version()}); upgrade Penstock, or use another database"
        )
    return stored


def _check_foreign(connection: Connection, name: str, tables: set[str]) -> None:
    ours = sorted(tables & set(metadata.tables))
    if ours:
        raise StoreRejected(f"{name} has the table {ours[0]} but not {meta.name}; restore it from a backup")
    if tables and connection.dialect.name == "sqlite":
        # A file of another program. A PostgreSQL database may well have other tables.
        raise StoreRejected(f"{name} is a file of another program (it has the table {min(tables)}); name another file")


def require(connection: Connection, name: str) -> None:
    """Check that the tables are there, and of this version. Nothing is changed. It raises what ``check`` raises."""
    stored = check(connection, name)
    if stored is None:
        raise StoreRejected(f"{name} has no tables of a job store; a server creates them when it starts")
    if stored < version():
        raise StoreRejected(
            f"{name} was written by an earlier version of Penstock (tables of version {stored}, this one needs "
            f"{version()}); start a server of this version first, which brings them up to date"
        )


def prepare(connection: Connection, name: str) -> None:
    """Create the tables, or bring them up to date, in the transaction of the connection.

    No other connection may do this at the same time. It raises what ``check`` raises.
    """
    stored = check(connection, name)
    if stored is None:
        metadata.create_all(connection)
        connection.execute(meta.insert().values(id=1, version=version()))
        return
    for migrate in MIGRATIONS[stored - 1 :]:
        migrate(connection)
    if stored < version():
        connection.execute(meta.update().values(version=version()))
