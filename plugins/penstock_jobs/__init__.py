"""Durable stores of background jobs: a file of SQLite for one host, or PostgreSQL for several.

They need the extra ``jobs``, and PostgreSQL the extra ``jobs-postgres``.
"""

from penstock_jobs.postgres_store import PostgresJobStore
from penstock_jobs.sqlite_store import SqliteJobStore

__all__ = ["PostgresJobStore", "SqliteJobStore"]
