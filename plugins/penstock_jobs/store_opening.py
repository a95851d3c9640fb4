"""The store that a setting names."""

from __future__ import annotations

from typing import Final

from penstock.errors import PluginError
from penstock.job_store import JobStore, StoreLimits

SQLITE: Final = "sqlite:///"
POSTGRES: Final = ("postgresql://", "postgres://")
MEMORY: Final = "memory:"


def is_known(address: str) -> bool:
    """Return whether this plug-in has a store of this kind itself."""
    return address == MEMORY or address.startswith((SQLITE, *POSTGRES))


def make_store(address: str, limits: StoreLimits) -> JobStore:
    """Return the store at an address, which is not open.

    Raises
    ------
    PluginError
        If a library is missing, or the address names no file. The message omits the address: it may have a password.
    """
    if address == MEMORY:
        from penstock.testing import MemoryJobStore  # noqa: PLC0415 - tools for tests, and only loaded by them

        return MemoryJobStore(limits=limits)
    try:
        if address.startswith(SQLITE):
            from penstock_jobs.sqlite_store import SqliteJobStore  # noqa: PLC0415 - it loads an extra

            return SqliteJobStore(_path_in(address), limits=limits)
        from penstock_jobs.postgres_store import PostgresJobStore  # noqa: PLC0415 - it loads an extra

        return PostgresJobStore(address.replace("postgres://", "postgresql://", 1), limits=limits)
    except ImportError as error:
        extra = "jobs" if address.startswith(SQLITE) else "jobs-postgres"
        raise PluginError(
            f"plug-in 'jobs' has a store, but the library {error.name} is missing; pip install 'penstock[{extra}]'"
        ) from None


def _path_in(address: str) -> str:
    path = address.removeprefix(SQLITE)
    if not path:
        raise PluginError("the store of plug-in 'jobs' names no file; write sqlite:///jobs.db")
    return path
