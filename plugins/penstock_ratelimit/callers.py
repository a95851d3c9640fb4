"""Whom a request is counted against.

Only what has been verified tells callers apart: a name or a key counts once the authenticator has accepted it, or else
everybody could be somebody new with each request. A key is only ever kept as a digest.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Callable
from functools import lru_cache

from penstock.hooks import Submission
from penstock_ratelimit.settings import By

CallerOf = Callable[[Submission], str]


def by_address(submission: Submission) -> str:
    """The client's address."""
    address = submission.address
    return f"a:{network(address)}" if ":" in address else f"a:{address}"


def by_principal(submission: Submission) -> str:
    """The principal, or the address of who has no name."""
    principal = submission.principal
    return by_address(submission) if principal is None else f"p:{principal.name}"


def by_key(submission: Submission) -> str:
    """The key that the principal has shown, or the address of who has no name.

    With two credentials at once nobody knows here which of them was verified, and the other may be anything: then it is
    the principal that counts.
    """
    if submission.principal is None:
        return by_address(submission)
    key, authorization = submission.header("x-api-key"), submission.header("authorization")
    if (key is None) == (authorization is None):
        return by_principal(submission)
    # "Bearer x" and "bearer  x" are one.
    words = authorization.split() if authorization is not None else [key or ""]
    credential = words[-1].strip() if words else ""
    digest = hashlib.blake2b(credential.encode(errors="surrogatepass"), digest_size=16).hexdigest()
    return f"k:{submission.principal.name}/{digest}"


@lru_cache(maxsize=4096)  # to parse an address costs more than all the rest
def network(address: str) -> str:
    """Of an IPv6 address, the 64 bits that a site cannot choose at will; IPv4 in its clothes is IPv4."""
    try:
        parsed = ipaddress.IPv6Address(address)
    except ValueError:
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return f"{ipaddress.IPv6Address(int(parsed) >> 64 << 64)}/64"


CALLERS: dict[By, CallerOf] = {"principal": by_principal, "key": by_key, "address": by_address}
