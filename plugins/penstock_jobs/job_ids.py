"""The ids of jobs: those that callers choose, those of schedules, and the server's, which begin with the time.

The last ones are UUIDv7 (RFC 9562).
"""

from __future__ import annotations

import os
import re
import time
import uuid
from typing import Final

SCHEDULED: Final = "schedule:"
"""The beginning of the ids, and of the groups, of jobs of schedules. No caller may choose such an id."""
ID_PATTERN: Final = "[A-Za-z0-9._:-]{1,128}"
is_job_id: Final = re.compile(ID_PATTERN).fullmatch


def new_job_id(now: float | None = None) -> str:
    """Return a new id of the server's."""
    milliseconds = int((time.time() if now is None else now) * 1000) & (1 << 48) - 1
    random = int.from_bytes(os.urandom(10)) & (1 << 74) - 1
    value = milliseconds << 80 | 7 << 76 | random >> 62 << 64 | 0b10 << 62 | random & (1 << 62) - 1
    return str(uuid.UUID(int=value))


def created_at(job_id: str) -> float | None:
    """Return the instant in an id of the server's; None if it has another form."""
    try:
        found = uuid.UUID(job_id)
    except ValueError:
        return None
    return (found.int >> 80) / 1000 if found.version == 7 and str(found) == job_id else None
