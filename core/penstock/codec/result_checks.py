"""Checks of results against the return annotation, which is what the output schema promises."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from penstock.codec import decoding
from penstock.response import OCTETS, Encoded

ResultCheck = Callable[[Encoded], str | None]
"""Returns why a result does not match, or None."""


def result_check(annotation: Any) -> ResultCheck | None:
    """Return the check for this return annotation, or None if it promises nothing that JSON can be checked for.

    The body is checked, not the value: an array is a list[float] to the caller. pydantic writes a model in another form
    than the one that it reads, so models are not checked.
    """
    if annotation is Any:
        return None
    if annotation is bytes:
        return lambda result: "it is JSON, not bytes" if result.media_type is None else None
    read = decoding.result_reader(annotation)
    if read is None:
        return None

    def check(result: Encoded) -> str | None:
        if result.media_type is not None:  # most likely a Response, which may be anything
            return "it is bytes" if result.media_type == OCTETS else None
        try:
            read(result.body)
        except msgspec.ValidationError as error:
            return str(error)
        except Exception:  # code of the user's own types: a value that it made need not be one that it accepts
            return None
        return None

    return check
