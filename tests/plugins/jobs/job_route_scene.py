"""A scene for the routes of background jobs: a desk over a store in memory, whose jobs are run by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

from penstock import App, Context, Jobs
from penstock.errors import Unauthorized
from penstock.hooks import Principal, Route, RouteResponse, hookimpl
from penstock.job_store import ClaimKey, JobEnding, StoredJob, StoreLimits, StoreOwner
from penstock.testing import MemoryJobStore, PluginHarness
from penstock_jobs.job_desk import JobDesk
from penstock_jobs.job_requests import ReadWebhook
from penstock_jobs.job_routes import job_routes
from penstock_jobs.webhook_options import read_webhook
from penstock_jobs.webhook_settings import WebhookSettings

START = 1_800_000_000.0
OWNER = "engine-1"


class ByHeader:
    """An authenticator that believes the header ``X-Who``: ``alice:scope+scope``."""

    name = "by-header"

    @hookimpl
    def penstock_authenticator(self, endpoint: Any) -> Callable[[Any], Principal | None]:
        def look(submission: Any) -> Principal | None:
            name, _, scopes = (submission.header("x-who") or "").partition(":")
            if endpoint.name == "secret" and name != "alice":
                raise Unauthorized("only alice may use it")
            return Principal(name, frozenset(scopes.split("+")) if scopes else frozenset()) if name else None

        return look


def demo_app() -> App:
    app = App("demo")

    @app.endpoint("/square", jobs=Jobs(result_ttl=100.0, record_ttl=1000.0, max_queued=50))
    def square(input: float) -> float:
        return input**2

    @app.endpoint("/size", jobs=Jobs())
    def size(picture: bytes) -> int:
        return len(picture)

    @app.endpoint("/secret", jobs=Jobs())
    def secret(context: Context) -> str:
        return context.job_id

    @app.endpoint("/cube")
    def cube(input: float) -> float:
        return input**3

    return app


NO_WEBHOOKS = partial(read_webhook, settings=WebhookSettings())


class JobScene:
    """Sends requests, and runs jobs by hand.

    Parameters
    ----------
    limits:
        The limits of the store.
    read_webhook:
        As in ``job_routes``.
    """

    def __init__(self, limits: StoreLimits | None = None, read_webhook: ReadWebhook = NO_WEBHOOKS) -> None:
        self.now = START
        self.app = demo_app()
        self.desk = JobDesk(self.app, clock=lambda: self.now)
        self.desk.call_soon_threadsafe = lambda callback: callback()
        self.store = MemoryJobStore(limits=limits)
        self.store.start(self.desk.note)
        self.desk.open(self.store)
        self.store.register(StoreOwner(OWNER), now=self.now).result()
        self._read_webhook = read_webhook
        self.harness = PluginHarness(self.app, [ByHeader(), self])

    @hookimpl
    def penstock_routes(self) -> list[Route]:
        return job_routes(self.desk, self.app, read_webhook=self._read_webhook)

    # ---- requests

    def send(self, method: str, address: str, body: Any = None, *, who: str = "alice", **headers: str) -> RouteResponse:
        path, _, query = address.partition("?")
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        content = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        return self.harness.route(path, method, content, headers={"x-who": who, **sent}, query=query)

    def json(self, method: str, address: str, body: Any = None, **headers: str) -> Any:
        return json.loads(self.send(method, address, body, **headers).body)

    def submit(self, value: Any = 3.0, *, who: str = "alice", **options: Any) -> str:
        body = {"endpoint": "square", "input": {"input": value}, **options}
        return str(self.json("POST", "/v1/jobs", body, who=who)["id"])

    # ---- the engine

    def claim(self, endpoint: str = "square", *, is_started: bool = True) -> ClaimKey:
        [claimed] = self.store.claim(OWNER, endpoint, 1, now=self.now).result()
        if is_started:
            self.store.started(claimed.key, now=self.now).result()
        return claimed.key

    def finish(self, key: ClaimKey, result: bytes = b"9.0", **values: Any) -> None:
        ending = JobEnding(**{"state": "succeeded", "result": result, "media_type": "application/json", **values})
        assert self.store.finish(key, ending, now=self.now).result()

    def fail(self, key: ClaimKey, code: str = "handler-error", status: int = 500) -> None:
        problem = json.dumps({"type": f"urn:penstock:{code}", "status": status, "error": {"code": code}}).encode()
        assert self.store.finish(key, JobEnding(state="failed", code=code, error=problem), now=self.now).result()

    def run(self, **values: Any) -> str:
        """Claim the next job and finish it; return its id."""
        key = self.claim()
        self.finish(key, **values)
        return key.job

    def job(self, job_id: str) -> StoredJob:
        return self.store.get(job_id).result()
