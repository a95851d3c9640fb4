"""Who wants the engine to stop, and why."""

from __future__ import annotations

import msgspec


class ShutdownRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A wish to shut the engine down.

    Parameters
    ----------
    drain:
        Seconds for what has been admitted, as it was asked for.
    who:
        Such as ``SIGTERM``, a principal's name, ``the program``.
    why:
        One sentence for the audit log, or "".
    """

    drain: float
    who: str = "the program"
    why: str = ""
