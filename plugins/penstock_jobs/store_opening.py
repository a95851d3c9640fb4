"""The store that a setting names."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from penstock.errors import PluginError
from penstock.job_store import JobStore, StoreLimits

if TYPE_CHECKING:
    from penstock_jobs.sql_store import SqlJobStore  # it loads an extra

SQLITE: Final = "sqlite:///"
POSTGRES: Final = ("postgresql://", "postgres://")
MEMORY: Final = "memory:"


def is_known(address: str) -> bool:
    """Return whether this plug-in has a store of this kind itself."""
    return address == MEMORY or address.startswith((SQLITE, *POSTGRES))


def make_store(address: str, limits: StoreLimits, *, must_exist: bool = False) -> JobStore:
    """Return the store at an address, which is not open.

    Parameters
    ----------
    address:
        The address, as in the setting ``store``.
    limits:
        The limits of the store.
    must_exist:
        True to open only a store in a database that is there already, with tables of this version.

    Raises
    ------
    PluginError
        If a library is missing, or the address names no file. The message omits the address: it may have a password.
    """
    if address == MEMORY:
        from penstock.testing import MemoryJobStore  # noqa: PLC0415 - tools for tests, and only loaded by them

        return MemoryJobStore(limits=limits)
    if address.startswith(SQLITE):
        with needed_extra("jobs"):
            from penstock_jobs.sqlite_store import SqliteJobStore  # noqa: PLC0415 - it loads an extra

        return _marked(SqliteJobStore(_path_in(address), limits=limits), must_exist=must_exist)
    with needed_extra("jobs-postgres"):
        from penstock_jobs.postgres_store import PostgresJobStore  # noqa: PLC0415 - it loads an extra

    url = address.replace("postgres://", "postgresql://", 1)
    return _marked(PostgresJobStore(url, limits=limits), must_exist=must_exist)


@contextmanager
def needed_extra(name: str) -> Iterator[None]:
    """Import what an extra installs in the body, and name the extra if it is missing.

    Parameters
    ----------
    name:
        The name of the extra.

    Raises
    ------
    PluginError
        If a library is missing.
    """
    try:
        yield
    except ImportError as error:
        raise PluginError(
            f"plug-in 'jobs' has a store, but the library {error.name} is missing; pip install 'penstock[{name}]'"
        ) from None


def _marked(store: SqlJobStore, *, must_exist: bool) -> JobStore:
    store.must_exist = must_exist
    return store


def _path_in(address: str) -> str:
    path = address.removeprefix(SQLITE)
    if not path:
        raise PluginError("the store of plug-in 'jobs' names no file; write sqlite:///jobs.db")
    return path
