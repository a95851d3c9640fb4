"""The key file: one JSON object per line, so that people can read it and programs can append to it.

Blank lines and lines that begin with ``#`` are ignored, and kept in place.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import secrets
from collections.abc import Iterable, Iterator
from datetime import datetime
from math import inf
from pathlib import Path
from typing import Annotated, Final, TypeAlias

import msgspec

from penstock.hooks import Principal
from penstock_auth.api_keys import ApiKey, check_name, check_scope, digest_from_hex, index

NEW_FILE_MODE: Final = 0o600
HEADING: Final = b"# Penstock API keys, written by `penstock keys`. Only digests are kept: keys cannot be recovered.\n"

Instant: TypeAlias = Annotated[datetime, msgspec.Meta(tz=True)]

# Text that could be a key in the wrong place.
_SECRETIVE = re.compile(r"[\w+/=-]{16,}")


class KeyRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One line of the key file.

    Parameters
    ----------
    id:
        The ID by which the key is revoked.
    principal:
        The name of the key's principal, which may have several keys.
    scopes:
        The scopes that the key grants.
    created, expires, revoked:
        The times of these events. A key without ``expires`` never expires; a key with ``revoked`` is never accepted.
    sha256:
        The key's digest.
    """

    id: Annotated[str, msgspec.Meta(pattern=r"^[\w.-]{1,64}$")]
    principal: str
    scopes: tuple[str, ...] = ()
    created: Instant | None = None
    expires: Instant | None = None
    revoked: Instant | None = None
    sha256: str

    def __post_init__(self) -> None:
        check_name(self.principal)
        for scope in self.scopes:
            check_scope(scope)
        digest_from_hex(self.sha256)

    def __repr__(self) -> str:
        return f"<KeyRecord {self.id} of {self.principal}>"

    def state(self, now: datetime) -> str:
        """Return ``active``, ``expired`` or ``revoked``."""
        if self.revoked is not None:
            return "revoked"
        return "expired" if self.expires is not None and self.expires <= now else "active"

    def key(self) -> ApiKey:
        """Return the key in the form that is looked up per request."""
        principal = Principal(self.principal, frozenset(self.scopes))
        ends = inf if self.expires is None else self.expires.timestamp()
        return ApiKey(digest=digest_from_hex(self.sha256), principal=principal, ends=ends)


_decode = msgspec.json.Decoder(KeyRecord).decode
_encode = msgspec.json.Encoder().encode


def records_in(content: bytes) -> list[KeyRecord]:
    """Return all records of a key file.

    Raises
    ------
    ValueError
        If a line is not a record, or two records share an ID. The message names the line or the ID, and no secret.
    """
    records = [record for _, record in _numbered(content)]
    ids = set()
    for record in records:
        if record.id in ids:
            raise ValueError(f"two keys have the id {record.id!r}; change one of them")
        ids.add(record.id)
    return records


def keys_in(content: bytes) -> dict[bytes, ApiKey]:
    """Return the keys of a key file that are not revoked, by their digests.

    Raises
    ------
    ValueError
        As for ``records_in``, and if two lines have the same key.
    """
    records = records_in(content)
    # Revoked keys are checked too: a key listed twice must not stay valid when one of the two lines is revoked.
    index(record.key() for record in records)
    return {key.digest: key for key in (record.key() for record in records if record.revoked is None)}


def _numbered(content: bytes) -> Iterator[tuple[int, KeyRecord]]:
    for number, line in enumerate(content.split(b"\n"), 1):
        if line.strip() and not line.lstrip().startswith(b"#"):
            yield number, _record(line, number)


def _record(line: bytes, number: int) -> KeyRecord:
    try:
        return _decode(line)
    except (msgspec.DecodeError, UnicodeError) as error:
        complaint = _SECRETIVE.sub("...", str(error))
    raise ValueError(f"line {number} is not a key: {complaint}")


# ---- writing


def add_record(path: Path, record: KeyRecord) -> None:
    """Add a line to the key file; create the file if it does not exist.

    Raises
    ------
    OSError, ValueError
        If the file cannot be read or written; it is then unchanged.
    """
    with _locked(path):
        content = path.read_bytes() if path.exists() else HEADING
        if content and not content.endswith(b"\n"):
            content += b"\n"
        content += _encode(record) + b"\n"
        keys_in(content)
        _replace(path, content)


def revoke_record(path: Path, id: str, now: datetime) -> KeyRecord:
    """Mark one line as revoked; leave all other lines unchanged.

    Returns
    -------
    The revoked record. A record that was already revoked keeps its earlier time.

    Raises
    ------
    KeyError
        If no line has that ID.
    OSError, ValueError
        If the file cannot be read or written; it is then unchanged.
    """
    with _locked(path):
        content = path.read_bytes()
        records_in(content)
        lines = content.split(b"\n")
        for number, record in _numbered(content):
            if record.id == id:
                revoked = msgspec.structs.replace(record, revoked=record.revoked or now)
                lines[number - 1] = _encode(revoked)
                _replace(path, b"\n".join(lines))
                return revoked
    raise KeyError(id)


def free_id(taken: Iterable[str]) -> str:
    """Return a new random ID that is not in ``taken``."""
    known = set(taken)
    found = secrets.token_hex(4)
    while found in known:
        found = secrets.token_hex(4)
    return found


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Exclude other writers by locking the folder: the file itself is replaced, so a lock on it would be lost."""
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _replace(path: Path, content: bytes) -> None:
    """Replace the file's content atomically, keeping the file's owner and mode."""
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, NEW_FILE_MODE)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            if path.exists():
                # The server may run as another user, and must still be able to read the file.
                status = path.stat()
                with contextlib.suppress(PermissionError):
                    os.fchown(file.fileno(), status.st_uid, status.st_gid)
                os.fchmod(file.fileno(), status.st_mode & 0o7777)
            os.fsync(file.fileno())
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
