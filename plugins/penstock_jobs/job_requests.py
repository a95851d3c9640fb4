"""Requests for jobs, as callers send them, and the jobs that they become. Nothing here waits or stores."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

import msgspec

from penstock.errors import Forbidden, InvalidRequest, MalformedRequest
from penstock.hooks import PRIORITIES, Endpoint, Principal
from penstock.job_store import NewJob, Webhook
from penstock.policies import Jobs
from penstock_jobs.job_heads import JobHead
from penstock_jobs.job_ids import ID_PATTERN, SCHEDULED
from penstock_jobs.job_times import read_instant

ADMIN_SCOPE: Final = "jobs:admin"
"""The scope of callers who see the jobs of all others."""
INTERACTIVE_SCOPE: Final = "jobs:interactive"
"""The scope of callers whose jobs may have the priority ``interactive``."""
MOST_METADATA: Final = 16
MOST_METADATA_BYTES: Final = 512

MOST_CANONICAL_BYTES: Final = 1 << 20

HeaderOf = Callable[[str], str | None]
ReadWebhook = Callable[[Any], Webhook | None]
"""Returns the webhook in the option of a job; raises ``InvalidRequest`` with the code ``invalid-webhook``."""

_SECONDS: Final = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,9})?")
_KEY: Final = re.compile(r"[\x20-\x7e]{1,255}")
_PLACE: Final = re.compile(r" - at `\$(.*)`$")


class WantedJob(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of a request for a job. Without ``input``, the endpoint gets an empty body."""

    endpoint: str
    input: msgspec.Raw = msgspec.Raw(b"")
    priority: Literal["interactive", "normal", "batch"] = "batch"
    not_before: Any = None
    start_by: Any = None
    webhook: Any = None
    metadata: Annotated[dict[str, str], msgspec.Meta(max_length=MOST_METADATA)] | None = None
    group: Annotated[str, msgspec.Meta(min_length=1, max_length=128)] | None = None
    result_ttl: Annotated[float, msgspec.Meta(gt=0)] | None = None
    id: Annotated[str, msgspec.Meta(pattern=f"^{ID_PATTERN}$")] | None = None


@dataclass(frozen=True, kw_only=True)
class Origin:
    """The facts about a request that its jobs keep.

    Attributes
    ----------
    caller:
        The principal; None for a caller who was not identified.
    now:
        The wall clock.
    timeout:
        The seconds that the jobs may run; None: as long as the endpoint lets them.
    start_by:
        The latest start that the header asks for.
    key:
        The idempotency key.
    """

    caller: Principal | None
    request_id: str
    now: float
    timeout: float | None = None
    start_by: float | None = None
    key: str | None = None

    @property
    def principal(self) -> str:
        """The name that the jobs belong to; "" without one."""
        return "" if self.caller is None else self.caller.name

    @property
    def scopes(self) -> frozenset[str]:
        """The caller's scopes."""
        return frozenset() if self.caller is None else self.caller.scopes


def origin_of(caller: Principal | None, request_id: str, header: HeaderOf, now: float) -> Origin:
    """Return the facts in the headers of a request.

    Raises
    ------
    InvalidRequest
        If one of them cannot be used.
    """
    start = _seconds_in(header, "Start-Deadline")
    key = header("idempotency-key")
    if key is not None and not _KEY.fullmatch(key):
        raise invalid("Idempotency-Key", "use 1 to 255 printable ASCII characters")
    return Origin(
        caller=caller,
        request_id=request_id,
        now=now,
        timeout=_seconds_in(header, "X-Request-Timeout"),
        start_by=None if start is None else now + start,
        key=key,
    )


def read_wanted(body: bytes) -> WantedJob:
    """Return the request for a job in a body.

    Raises
    ------
    MalformedRequest
        If it is not JSON.
    InvalidRequest
        If it does not fit; ``errors`` and ``param`` name the member.
    """
    try:
        return _read_wanted(body)
    except msgspec.ValidationError as error:
        raise _misfit(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MalformedRequest(f"The body is not JSON: {error}") from None


def digest_of(*parts: bytes) -> str:
    """Return the identity of a request. JSON that differs in nothing but its spelling has the same one, up to 1 MiB."""
    sha = hashlib.sha256()
    for part in parts:
        try:
            canonical = _encode_sorted(msgspec.json.decode(part)) if 0 < len(part) <= MOST_CANONICAL_BYTES else part
        except (msgspec.DecodeError, UnicodeDecodeError):
            canonical = part
        sha.update(len(canonical).to_bytes(8) + canonical)
    return sha.hexdigest()


def input_body(endpoint: Endpoint, value: bytes) -> tuple[bytes, str]:
    """Return the body for an endpoint, from the JSON of its input, and its media type.

    Raises
    ------
    InvalidRequest
        If the endpoint takes bytes, and the input is not text in base64.
    """
    codec = endpoint.codec
    if codec.reads != "bytes" or codec.has_values or not value:
        return value, "application/json"
    try:
        return base64.b64decode(msgspec.json.decode(value, type=str), validate=True), "application/octet-stream"
    except (msgspec.DecodeError, binascii.Error, ValueError):
        raise invalid("input", f"endpoint {endpoint.name!r} takes bytes: write them as text in base64") from None


def new_job(
    wanted: WantedJob,
    endpoint: Endpoint,
    policy: Jobs,
    origin: Origin,
    *,
    job_id: str,
    digest: str,
    read_webhook: ReadWebhook,
    is_named: bool = False,
) -> NewJob:
    """Return the job that a request asks for; the input is not checked against the endpoint yet.

    Raises
    ------
    Forbidden
        If the caller may not have the priority.
    InvalidRequest
        If an option cannot be used.
    """
    if wanted.priority == "interactive" and not origin.scopes & {INTERACTIVE_SCOPE, ADMIN_SCOPE}:
        raise Forbidden(f"priority 'interactive' needs the scope {INTERACTIVE_SCOPE!r}; use 'normal' or 'batch'")
    if is_named and job_id.startswith(SCHEDULED):
        raise invalid("id", f"ids that begin with {SCHEDULED!r} are those of schedules; choose another one")
    not_before, start_by = _instant(wanted.not_before, "not_before"), _instant(wanted.start_by, "start_by")
    if not_before is not None and start_by is not None and start_by <= not_before:
        raise invalid("start_by", "it must be after not_before")
    body, media_type = input_body(endpoint, bytes(wanted.input))
    return NewJob(
        id=job_id,
        is_named=is_named,
        endpoint=endpoint.name,
        request=body,
        media_type=media_type,
        head=JobHead(scopes=None if origin.caller is None else tuple(sorted(origin.scopes))).encode(),
        digest=digest,
        idempotency_key=origin.key,
        principal=origin.principal,
        priority=PRIORITIES.index(wanted.priority),
        not_before=not_before,
        start_by=_earliest(start_by, origin.start_by),
        timeout=origin.timeout,
        group=wanted.group,
        request_id=origin.request_id,
        metadata=_metadata(wanted.metadata),
        webhook=read_webhook(wanted.webhook),
        **ttls_and_limits(policy, wanted.result_ttl),
    )


def ttls_and_limits(policy: Jobs, result_ttl: float | None = None) -> dict[str, Any]:
    """Return the fields of a new job that its endpoint decides; a caller may only shorten ``result_ttl``."""
    return {
        "result_ttl": policy.result_ttl if result_ttl is None else min(policy.result_ttl, result_ttl),
        "record_ttl": policy.record_ttl,
        "on_lost": policy.on_lost or "retry",
        "max_claims": policy.max_claims,
        "max_queued": policy.max_queued,
    }


def invalid(param: str, reason: str) -> InvalidRequest:
    """Return the error for a member, or a header, that cannot be used."""
    path = f"$.{param}" if param[:1].islower() else param
    return InvalidRequest(f"{param}: {reason}", errors=[{"path": path, "reason": reason}], param=param)


def inside_input(error: InvalidRequest) -> InvalidRequest:
    """Return an endpoint's error about an input, with the places that it has in the request for the job."""
    faults = [{**fault, "path": re.sub(r"^\$", "$.input", fault["path"])} for fault in error.errors]
    param = "input" if error.param is None else f"input.{error.param}"
    return type(error)(error.detail, errors=faults, param=param)


def _misfit(text: str) -> InvalidRequest:
    place = _PLACE.search(text)
    path, reason = ("" if place is None else place[1]), _PLACE.sub("", text)
    unknown = re.search(r"(?:unknown field|missing required field) `(\w+)`", text)
    if unknown is not None:
        path = f"{path}.{unknown[1]}"
    return InvalidRequest(
        f"{path.lstrip('.') or 'the body'}: {reason}",
        errors=[{"path": f"${path}", "reason": reason}],
        param=path.lstrip(".") or None,
    )


def _seconds_in(header: HeaderOf, name: str) -> float | None:
    value = header(name.lower())
    if value is None:
        return None
    if not _SECONDS.fullmatch(value.strip()) or float(value) <= 0:
        raise invalid(name, f"{value[:40]!r} cannot be used; give seconds greater than 0, such as 2.5")
    return float(value)


def _instant(value: Any, name: str) -> float | None:
    try:
        return None if value is None else read_instant(value)
    except ValueError:
        raise invalid(name, 'give an instant with its offset, such as "2026-11-29T12:00:00Z"') from None


def _earliest(*instants: float | None) -> float | None:
    return min((instant for instant in instants if instant is not None), default=None)


def _metadata(found: Mapping[str, str] | None) -> Mapping[str, str]:
    for key, value in (found or {}).items():
        if not key or max(len(key.encode()), len(value.encode())) > MOST_METADATA_BYTES:
            raise invalid("metadata", f"{key[:40]!r}: a key and a value may have {MOST_METADATA_BYTES} bytes each")
    return found or {}


_read_wanted = msgspec.json.Decoder(WantedJob).decode
_encode_sorted = msgspec.json.Encoder(order="sorted").encode
