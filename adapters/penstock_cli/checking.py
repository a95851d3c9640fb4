"""``penstock check``: print what an app declares, as text or as JSON. Nothing is started."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence, Sized
from typing import Any

from rich.text import Text

import penstock_falcon
from penstock import App, Endpoint
from penstock.hosting import Pool, class_name
from penstock.policies import Recycle, Retries
from penstock_cli.targets import include_current_folder, load_target, user_code
from penstock_cli.terminal import labelled_lines, make_console


def check_app(target: str, arguments: Sequence[str] = (), *, as_json: bool) -> None:
    """Load the app and print what it declares to stdout.

    Raises
    ------
    TargetError
        If there is no such app, or its module or a declaration in it fails.
    """
    include_current_folder()
    app = load_target(target, arguments)
    with user_code():
        # Both validate more than the declarations do by themselves; neither starts anything.
        _ = app.pools
        penstock_falcon.asgi(app)
    if as_json:
        print(json.dumps(describe_app(app), indent=2))
        return
    console = make_console()
    for endpoint in app.endpoints:
        console.print(_endpoint_text(describe_endpoint(endpoint), app.pools[endpoint.pool]))
    for schedule in app.schedules:
        times = f"{schedule.cron} in {schedule.timezone}"
        console.print(Text(f"schedule {schedule.name}: {times}, calls {schedule.endpoint}"))
    console.print(
        Text(f"{app.import_name} is fine: {_count(app.endpoints, 'endpoint')}, {_count(app.pools, 'pool')}", "green")
    )


def describe_app(app: App) -> dict[str, Any]:
    """Return the document of ``penstock check --json``: ``app``, ``endpoints``, ``pools`` and ``schedules``."""
    return {
        "app": app.import_name,
        "endpoints": [describe_endpoint(endpoint) for endpoint in app.endpoints],
        "pools": [describe_pool(pool) for pool in app.pools.values()],
        "schedules": [
            {"name": each.name, "cron": each.cron, "timezone": each.timezone, "endpoint": each.endpoint}
            for each in app.schedules
        ],
    }


def describe_endpoint(endpoint: Endpoint) -> dict[str, Any]:
    """Return an endpoint's declaration with its effective policies: durations in seconds, None if unbounded."""
    return {
        "name": endpoint.name,
        "method": endpoint.method,
        "path": endpoint.path,
        "kind": "class" if endpoint.is_class else "function",
        "mode": endpoint.mode,
        "stream": endpoint.is_stream,
        "pool": endpoint.pool,
        "concurrency": endpoint.concurrency,
        "timeouts": dataclasses.asdict(endpoint.timeouts),
        "retries": _describe_retries(endpoint.retries),
        "batching": None if endpoint.batching is None else dataclasses.asdict(endpoint.batching),
        "jobs": None if endpoint.jobs is None else dataclasses.asdict(endpoint.jobs),
        "max_queue": endpoint.max_queue,
        "idempotent": endpoint.idempotent,
        "reads": endpoint.codec.reads,
        "parameters": [dataclasses.asdict(parameter) for parameter in endpoint.codec.parameters],
        "input": endpoint.codec.input_schema(),
        "output": endpoint.codec.output_schema(),
    }


def _describe_retries(retries: Retries) -> dict[str, Any]:
    classes = retries.on if isinstance(retries.on, tuple) else (retries.on,)
    return dataclasses.asdict(retries) | {"on": [class_name(cls) for cls in classes]}


def describe_pool(pool: Pool) -> dict[str, Any]:
    """Return a pool's limits."""
    return {
        "name": pool.name,
        "workers": pool.workers,
        "devices": None if pool.devices is None else list(pool.devices),
        "runtime": pool.runtime,
        "preload": pool.preload,
        "spares": pool.spares,
        "recycle": None if pool.recycle is None else dataclasses.asdict(pool.recycle),
        "endpoints": [endpoint.name for endpoint in pool.endpoints],
    }


def _endpoint_text(described: dict[str, Any], pool: Pool) -> Text:
    text = Text.assemble((f"{described['method']} {described['path']}\n", "bold"))
    return text.append(labelled_lines(_endpoint_lines(described, pool)))


def _endpoint_lines(described: dict[str, Any], pool: Pool) -> Iterator[tuple[str, str]]:
    modes = {
        "inline": "one at a time",
        "task": "as async tasks",
        "thread": "in threads",
        "stepped": "together, step by step",
    }
    result = "a stream" if described["stream"] else "one result"
    yield "name", described["name"]
    yield "kind", f"{described['kind']}, {result}, run {modes[described['mode']]}"
    yield "pool", _pool_text(pool, described["concurrency"])
    if pool.recycle is not None:
        yield "recycled", ", ".join(_recycle_texts(pool.recycle))
    sources = [f"{parameter['name']} from the {parameter['source']}" for parameter in described["parameters"]]
    if any(parameter["source"] != "body" for parameter in described["parameters"]):
        yield "takes", ", ".join(sources)
    yield "input", _schema_text(described["input"], described["reads"])
    yield "output", _schema_text(described["output"])
    yield "timeouts", ", ".join(f"{name} {_seconds(value)}" for name, value in described["timeouts"].items())
    yield "retries", _retries_text(described)
    yield "queue", f"at most {described['max_queue']} jobs"
    if described["batching"] is not None:
        batching = described["batching"]
        yield "batching", f"up to {batching['max_size']} jobs, waiting at most {_seconds(batching['max_wait'])}"
    if described["jobs"] is not None:
        yield "jobs", _jobs_text(described["jobs"])


def _pool_text(pool: Pool, concurrency: int) -> str:
    devices = f" on {', '.join(pool.devices)}" if pool.devices else ""
    workers = "1 worker" if pool.workers == 1 else f"{pool.workers} workers"
    preloaded = ", preloaded" if pool.preload else ""
    if pool.spares:
        workers += " and 1 spare" if pool.spares == 1 else f" and {pool.spares} spares"
    return f"{pool.name}: {workers}{devices}, {pool.runtime}{preloaded}, concurrency {concurrency}"


def _recycle_texts(recycle: Recycle) -> Iterator[str]:
    if recycle.attempts is not None:
        yield f"after {recycle.attempts} attempts"
    if recycle.age is not None:
        yield f"at the age of {_seconds(recycle.age)}"
    if recycle.memory_bytes is not None:
        yield f"above {recycle.memory_bytes} bytes of memory"
    if recycle.after_interrupt:
        yield "after an interrupt"
    if recycle.check is not None:
        yield f"after a failed check, every {_seconds(recycle.check)}"


def _retries_text(described: dict[str, Any]) -> str:
    retries = described["retries"]
    if retries["max_attempts"] == 1:
        return "none"
    causes = ["a lost worker", *retries["on"], "Retryable"] if described["idempotent"] else ["Retryable"]
    return f"at most {retries['max_attempts']} attempts, after {', '.join(causes)}"


def _jobs_text(jobs: dict[str, Any]) -> str:
    limit = "" if jobs["concurrency"] is None else f", {jobs['concurrency']} at a time"
    if jobs["global_concurrency"] is not None:
        limit += f", {jobs['global_concurrency']} at a time in all engines"
    fate = "fail" if jobs["on_lost"] == "fail" else f"run again, at most {jobs['max_claims']} times"
    return f"at most {jobs['max_queued']} queued{limit}; those of a dead engine {fate}"


def _schema_text(schema: dict[str, Any], reads: str = "json") -> str:
    return "the raw body" if reads == "bytes" else json.dumps(schema, separators=(",", ":"))


def _seconds(value: float | None) -> str:
    return "unbounded" if value is None else f"{value:g} s"


def _count(things: Sized, noun: str) -> str:
    return f"{len(things)} {noun}{'' if len(things) == 1 else 's'}"
