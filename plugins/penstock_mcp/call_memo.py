"""The facts about a call of a tool that its answer needs."""

from __future__ import annotations

import msgspec


class CallMemo(msgspec.Struct, frozen=True, kw_only=True):
    """One call.

    Attributes
    ----------
    id:
        The id of the request, as it came.
    meta:
        The ``_meta`` of the result in the protocol of 2026-07-28; None in an older one.
    wraps_results:
        True if the handler promises a result that is not an object.
    token:
        The token with which the client tells its calls apart in progress reports, as it came; None if it wants none.
    """

    id: msgspec.Raw
    meta: msgspec.Raw | None
    wraps_results: bool
    token: msgspec.Raw | None = None
