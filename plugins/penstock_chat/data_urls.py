"""Contents inside JSON: base64, and ``data:`` URLs."""

from __future__ import annotations

import base64
import binascii
from urllib.parse import unquote_to_bytes

from penstock_chat.body_faults import refuse


def data_of_base64(text: str, param: str) -> bytes:
    """Return the content of a text in base64.

    Raises
    ------
    InvalidRequest
        If it is not one; its ``param`` is the one that is passed.
    """
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        refuse(param, "it is not base64")


def data_of_url(url: str, param: str) -> tuple[str, bytes]:
    """Return the media type, perhaps "", and the content of a ``data:`` URL.

    Raises
    ------
    InvalidRequest
        If it is not one; its ``param`` is the one that is passed.
    """
    head, comma, content = url.partition(",")
    scheme, _, described = head.partition(":")
    if scheme.lower() != "data" or not comma:
        refuse(param, "it is not a data: URL")
    media_type, *options = described.split(";")
    if "base64" in map(str.lower, options):
        return media_type, data_of_base64(content, param)
    return media_type, unquote_to_bytes(content)
