"""File locks that show which owners are alive. The kernel releases them when a process dies, whatever the reason."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Collection
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote

SUFFIX: Final = ".lock"


class OwnerLocks:
    """The locks of all engines of this host, in a folder beside the database.

    ``flock`` and not ``lockf``: the latter is lost when any descriptor of the file is closed.

    Parameters
    ----------
    folder:
        The folder, which is created when it is needed.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._held: dict[str, int] = {}

    def _file(self, owner: str) -> Path:
        return self._folder / (quote(owner, safe="") + SUFFIX)

    def take(self, owner: str) -> None:
        """Take the lock of an owner of this process."""
        if owner in self._held:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        # Locked before it has its name: another engine must never see it without a lock.
        draft = self._file(owner).with_suffix(f".{os.getpid()}")
        descriptor = os.open(draft, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        draft.rename(self._file(owner))
        self._held[owner] = descriptor

    def release(self, owner: str) -> None:
        """Release the lock of an owner of this process, if it has one, and remove its file."""
        descriptor = self._held.pop(owner, None)
        if descriptor is not None:
            self._file(owner).unlink(missing_ok=True)
            os.close(descriptor)

    def abandon(self) -> None:
        """Release all locks, as the death of the process does."""
        for descriptor in self._held.values():
            os.close(descriptor)
        self._held.clear()

    def dead(self) -> list[str]:
        """Return the owners whose locks no process holds."""
        files = sorted(self._folder.glob("*" + SUFFIX)) if self._folder.is_dir() else []
        owners = [unquote(file.name.removesuffix(SUFFIX)) for file in files]
        return [owner for owner in owners if owner not in self._held and self._is_free(owner)]

    def _is_free(self, owner: str) -> bool:
        try:
            descriptor = os.open(self._file(owner), os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return False  # removed in the meantime, or another user's
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        finally:
            os.close(descriptor)
        return True

    def forget(self, owners: Collection[str]) -> None:
        """Remove the files of owners that are dead and no longer in the store."""
        for owner in owners:
            if owner not in self._held:
                self._file(owner).unlink(missing_ok=True)
