"""Request ids: the caller's own, or a new one."""

from __future__ import annotations

import itertools
import os
import re

_is_sane_id = re.compile(r"[A-Za-z0-9._~:/+=@-]{1,128}").fullmatch
_id_numbers = itertools.count(1)
_id_prefix = ""


def _renew_id_prefix() -> None:
    """Choose a new prefix; each fork gets its own, so that two processes never produce the same id."""
    global _id_prefix  # noqa: PLW0603 - looking up the pid on every request would cost a system call
    _id_prefix = os.urandom(6).hex()


_renew_id_prefix()
os.register_at_fork(after_in_child=_renew_id_prefix)


def request_id(given: str | None) -> str:
    """Return the caller's id if it is safe in a log and a header, else a new one: unique, but not secret."""
    if given is not None and _is_sane_id(given):
        return given
    return f"{_id_prefix}-{next(_id_numbers):x}"
