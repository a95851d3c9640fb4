"""The routes of background jobs for operators."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any, Final

from penstock.errors import NotFound
from penstock.hooks import Route, RouteEngine, RouteRequest, RouteResponse
from penstock.job_store import JobDelivery, StoreCounts, StoreOwner
from penstock_jobs.job_documents import JOBS_PATH, delivery_document
from penstock_jobs.job_times import instant_text
from penstock_jobs.job_views import JobViews
from penstock_jobs.thread_flags import settled

STATUS_PATH: Final = "/-/jobs"


def operator_routes(views: JobViews) -> list[Route]:
    """Return the routes that the authenticator keeps for operators."""

    async def status(_request: RouteRequest, _engine: RouteEngine) -> RouteResponse:
        counts = await settled(views.store.counts())
        return RouteResponse.json(status_document(counts, now=views.now(), stale_writes=views.store.stale_writes))

    async def retry(request: RouteRequest, _engine: RouteEngine) -> RouteResponse:
        """Have a delivery sent again. One that is still on its way stays as it is."""
        job_id, number = request.path_values["id"], request.path_values["n"]
        is_sent_again = await settled(views.store.retry_delivery(f"{job_id}/{number}", now=views.now()))
        delivery = _numbered(await settled(views.store.deliveries(job_id)), number)
        if delivery is None:
            raise NotFound(f"job {job_id[:128]!r} has no delivery {number[:20]!r}")
        return RouteResponse.json(delivery_document(delivery), status=202 if is_sent_again else 200)

    retry_path = f"{JOBS_PATH}/{{id}}/deliveries/{{n}}/retry"
    return [
        Route(path=STATUS_PATH, name="jobs-status", handler=status),
        Route(path=retry_path, name="jobs-retry-delivery", handler=retry, method="POST"),
    ]


def status_document(counts: StoreCounts, *, now: float, stale_writes: int) -> dict[str, Any]:
    """Return the content of a store in numbers, for JSON."""
    states: Counter[str] = Counter()
    endpoints: dict[str, dict[str, Any]] = defaultdict(lambda: {"states": {}, "size_bytes": 0})
    for tally in counts.tallies:
        states[tally.state] += tally.jobs
        endpoints[tally.endpoint]["states"][tally.state] = tally.jobs
        endpoints[tally.endpoint]["size_bytes"] += tally.size_bytes
    for endpoint, document in endpoints.items():
        head = counts.heads.get(endpoint)
        document["oldest_queued_at"] = instant_text(head)
        document["oldest_queued_seconds"] = None if head is None else round(max(0.0, now - head), 3)
    return {
        "states": states,
        "endpoints": endpoints,
        "owners": [_owner_document(owner) for owner in counts.owners],
        "deliveries": dict(counts.deliveries),
        "stale_writes": stale_writes,
    }


def _owner_document(owner: StoreOwner) -> dict[str, Any]:
    # The clock of the beats is the store's own: of two beats, the greater is the later one.
    registered = instant_text(owner.registered_at)
    return {"id": owner.id, "host": owner.host, "pid": owner.pid, "registered_at": registered, "beat": owner.beat}


def _numbered(deliveries: Any, number: str) -> JobDelivery | None:
    return next((delivery for delivery in deliveries if str(delivery.seq) == number), None)
