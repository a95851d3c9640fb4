"""Bodies in the format of a dialect, which one of its functions decodes in the worker."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any

from penstock.errors import HandlerError, PenstockError


def decoded(body: bytes, decoder: str, media_type: str = "") -> bytes:
    """Return the plain body that a decoder, ``module:function``, makes of another one.

    Parameters
    ----------
    body:
        The body.
    decoder:
        The decoder.
    media_type:
        The content type for decoders that are called with it; otherwise "".

    Raises
    ------
    PenstockError
        If the decoder refuses the body.
    HandlerError
        If it cannot be imported, or fails.
    """
    try:
        function = _imported(decoder)
        plain: bytes = function(bytes(body), media_type) if media_type else function(bytes(body))
    except PenstockError:
        raise
    except Exception as error:
        raise HandlerError(
            f"the decoder {decoder} raised {type(error).__name__}: {error}", exception_type=type(error).__name__
        ) from error
    return plain


@cache
def _imported(decoder: str) -> Any:
    module, _, name = decoder.partition(":")
    return getattr(import_module(module), name)
