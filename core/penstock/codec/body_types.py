"""The content types of bodies, and which of them an endpoint reads."""

from __future__ import annotations

from penstock.codec.form_bodies import MULTIPART, URLENCODED, is_json, media_type_of
from penstock.codec.npy_bodies import NPY


def read_form_type(reads: str, content_type: str | None, *, takes_npy: bool) -> str | None:
    """Return a content type, if it is that of a form; "" if the body is a plain one; None if it is not read.

    Bytes are taken whatever they are, except for the parts of a form.

    Parameters
    ----------
    reads:
        ``Codec.reads``.
    content_type:
        The header ``Content-Type``, or None.
    takes_npy:
        True if an array in numpy's format is read; it counts as a form.
    """
    if reads == "query":
        return ""
    media_type = "" if content_type is None else media_type_of(content_type)
    if media_type == MULTIPART or (media_type == URLENCODED and reads == "json"):
        return content_type
    if media_type == NPY and takes_npy:
        return NPY
    return "" if reads == "bytes" or (reads == "json" and (content_type is None or is_json(media_type))) else None
