"""Background jobs: durable stores, in a file of SQLite or in PostgreSQL, and the plug-in that runs what is in them.

The stores need the extra ``jobs``, and the one in PostgreSQL ``jobs-postgres``.
"""

from typing import TYPE_CHECKING, Any

from penstock_jobs.jobs_plugin import JobsPlugin

# The stores load SQLAlchemy, which is an extra, and which servers without background jobs should not pay for.
if TYPE_CHECKING:
    from penstock_jobs.postgres_store import PostgresJobStore
    from penstock_jobs.sqlite_store import SqliteJobStore

__all__ = ["JobsPlugin", "PostgresJobStore", "SqliteJobStore"]


def __getattr__(name: str) -> Any:
    if name == "SqliteJobStore":
        from penstock_jobs.sqlite_store import SqliteJobStore  # noqa: PLC0415 - it loads an extra

        return SqliteJobStore
    if name == "PostgresJobStore":
        from penstock_jobs.postgres_store import PostgresJobStore  # noqa: PLC0415 - it loads an extra

        return PostgresJobStore
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
