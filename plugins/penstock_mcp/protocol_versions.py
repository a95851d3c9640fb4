"""The versions of the protocol, and the headers that each of them wants.

Up to 2025-11-25, a client begins with a handshake. From 2026-07-28 on, each request stands for itself: it says in its
``_meta`` which version it speaks, and repeats in its headers what a proxy may want to know of the body.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from typing import Final

import msgspec

from penstock_mcp.rpc_answers import BAD_PARAMS, HEADER_MISMATCH, UNKNOWN_VERSION, RpcFault
from penstock_mcp.rpc_messages import RpcMessage, field_of

WITH_HANDSHAKE: Final = ("2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05")
MODERN: Final = ("2026-07-28",)
SUPPORTED: Final = (*MODERN, *WITH_HANDSHAKE)
"""All versions, the newest first."""

VERSION_HEADER: Final = "mcp-protocol-version"
METHOD_HEADER: Final = "mcp-method"
NAME_HEADER: Final = "mcp-name"

_VERSION_KEY: Final = "io.modelcontextprotocol/protocolVersion"
_CAPABILITIES_KEY: Final = "io.modelcontextprotocol/clientCapabilities"
_IN_BASE64: Final = re.compile(r"=\?base64\?(?P<text>.*)\?=")

HeaderOf = Callable[[str], str | None]


def meta_of(message: RpcMessage) -> dict[str, msgspec.Raw]:
    """Return the ``_meta`` of a message; empty if it has none.

    Raises
    ------
    RpcFault
        If it is not an object.
    """
    return message.param("_meta", dict[str, msgspec.Raw], {})


def is_modern(message: RpcMessage, header: HeaderOf) -> bool:
    """Return whether a message is to be read by the rules of 2026-07-28.

    One with an unknown version is, because those rules say how to refuse it.

    Raises
    ------
    RpcFault
        If its ``_meta`` is not an object.
    """
    if message.method == "initialize" and header(VERSION_HEADER) not in MODERN:
        return False
    version = header(VERSION_HEADER)
    is_unknown = version is not None and version not in WITH_HANDSHAKE
    return is_unknown or message.method == "server/discover" or _VERSION_KEY in meta_of(message)


def require_agreement(message: RpcMessage, header: HeaderOf) -> None:
    """Check the version of a request by the rules of 2026-07-28, and that its headers say what its body says.

    Raises
    ------
    RpcFault
        If something is missing, if they differ, or if the version is unknown.
    """
    version_header = header(VERSION_HEADER)
    meta = meta_of(message)
    if version_header is not None and version_header not in SUPPORTED and _VERSION_KEY not in meta:
        raise unknown_version(version_header)
    missing = [key for key in (_VERSION_KEY, _CAPABILITIES_KEY) if key not in meta]
    if missing:
        raise RpcFault(BAD_PARAMS, f"params._meta has no {' and no '.join(missing)}")
    version = field_of(meta, _VERSION_KEY, str, f"params._meta.{_VERSION_KEY}", "")
    _require_equal(VERSION_HEADER, version_header, version)
    _require_equal(METHOD_HEADER, header(METHOD_HEADER), message.method or "")
    if message.method == "tools/call":
        name = header(NAME_HEADER)
        _require_equal(NAME_HEADER, None if name is None else _decoded(name), message.param("name", str, ""))
    if version not in MODERN:
        raise unknown_version(version)


def unknown_version(version: str) -> RpcFault:
    """Return the fault of a message whose version is not spoken here."""
    data = {"supported": list(SUPPORTED), "requested": version[:100]}
    return RpcFault(UNKNOWN_VERSION, f"The version {version[:100]!r} of the protocol is not spoken here", data)


def _require_equal(name: str, in_header: str | None, in_body: str) -> None:
    if in_header is None:
        raise RpcFault(HEADER_MISMATCH, f"The request has no header {name}, which has to say {in_body[:200]!r}")
    if in_header != in_body:
        raise RpcFault(
            HEADER_MISMATCH, f"The header {name} says {in_header[:200]!r}, and the body says {in_body[:200]!r}"
        )


def _decoded(value: str) -> str | None:
    """Return the value of a header that may be in base64, as a value that is not ASCII is; None if it is broken."""
    found = _IN_BASE64.fullmatch(value)
    if found is None:
        return value
    try:
        return base64.b64decode(found["text"], validate=True).decode()
    except ValueError:  # not base64, or not UTF-8
        return None
