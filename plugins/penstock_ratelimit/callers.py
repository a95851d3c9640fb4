"""The caller that a request is counted against.

Only verified facts distinguish callers: a name or a key counts once the authenticator has accepted it. Otherwise any
client could pass for a new caller with each request. A key is only ever kept as a digest.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Callable
from functools import lru_cache

from penstock.hooks import Submission
from penstock_ratelimit.ratelimit_settings import By

CallerOf = Callable[[Submission], str]


def by_address(submission: Submission) -> str:
    """Return the client's address."""
    address = submission.address
    return f"a:{network(address)}" if ":" in address else f"a:{address}"


def by_principal(submission: Submission) -> str:
    """Return the principal, or the address of an anonymous caller."""
    principal = submission.principal
    return by_address(submission) if principal is None else f"p:{principal.name}"


def by_key(submission: Submission) -> str:
    """Return the key that the principal sent, or the address of an anonymous caller.

    If a request carries two credentials, it is not known here which of them was verified, and the other one may be
    anything: then the principal counts.
    """
    if submission.principal is None:
        return by_address(submission)
    key, authorization = submission.header("x-api-key"), submission.header("authorization")
    if (key is None) == (authorization is None):
        return by_principal(submission)
    # "Bearer x" and "bearer  x" are the same credential.
    words = authorization.split() if authorization is not None else [key or ""]
    credential = words[-1].strip() if words else ""
    digest = hashlib.blake2b(credential.encode(errors="surrogatepass"), digest_size=16).hexdigest()
    return f"k:{submission.principal.name}/{digest}"


@lru_cache(maxsize=4096)  # parsing an address costs more than everything else here
def network(address: str) -> str:
    """Return the /64 prefix of an IPv6 address, as a site chooses the other bits; IPv4-mapped addresses are IPv4."""
    try:
        parsed = ipaddress.IPv6Address(address)
    except ValueError:
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return f"{ipaddress.IPv6Address(int(parsed) >> 64 << 64)}/64"


CALLERS: dict[By, CallerOf] = {"principal": by_principal, "key": by_key, "address": by_address}
