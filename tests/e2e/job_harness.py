"""An app with background jobs for tests of faults, the file or database of its servers, and calls of its routes."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import sqlite3
from pathlib import Path
from typing import Any

from penstock.job_store import FINAL
from tests.job_rules import broken_postgres_rules, broken_rules
from tests.postgres import PostgresServer
from tests.serving import Answer, Served, wait_until, write_app

APP = """
    import os
    import signal
    import time
    from collections.abc import Iterator

    import trio

    from penstock import App, Context, Jobs, Timeouts
    from penstock_jobs import SqliteJobStore

    app = App(__name__)
    LEASE = float(os.environ.get("LEASE", "30"))


    def note(*words):
        line = " ".join(map(str, words)) + "\\n"
        with open(os.environ["LEDGER"], "ab", buffering=0) as file:
            file.write(line.encode())


    @app.endpoint("/square", jobs=Jobs(max_claims=20, lease=LEASE), workers=1)
    def square(input: float, context: Context, pause: float = 0.0) -> float:
        note("run", context.job_id, context.claim)
        time.sleep(pause)
        return input**2


    @app.endpoint("/sleep", concurrency=20, timeouts=Timeouts(grace=0.3), jobs=Jobs(concurrency=10, lease=LEASE))
    async def sleep(seconds: float, context: Context) -> int:
        note("run", context.job_id, context.claim)
        try:
            await trio.sleep(seconds if context.claim < 2 else 0)
            context.progress(1, 1)
        except trio.Cancelled:
            note("interrupted", context.job_id, context.claim)
            raise
        return context.claim


    @app.endpoint("/two", workers=3, jobs=Jobs(concurrency=2, lease=LEASE))
    def two(seconds: float, context: Context) -> None:
        note("enter", context.job_id)
        time.sleep(seconds)
        note("leave", context.job_id)


    @app.endpoint("/poison", workers=2, jobs=Jobs(concurrency=2, lease=LEASE))
    def poison(of: str, context: Context) -> str:
        note("run", context.job_id, context.claim)
        if of == "engine":
            os.killpg(os.getsid(0), signal.SIGKILL)
        if of == "worker":
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(2)
        return of


    @app.endpoint("/count", workers=1, jobs=Jobs(lease=LEASE))
    def count(n: int, pause: float) -> Iterator[int]:
        for number in range(n):
            yield number
            time.sleep(pause)


    @app.endpoint("/large", workers=1, jobs=Jobs(lease=LEASE))
    def large(n: int) -> Iterator[str]:
        for _ in range(n):
            yield "x" * 4096


    def die_after_commit():
        put = SqliteJobStore.put

        def put_and_die(*arguments, **options):
            future = put(*arguments, **options)
            future.add_done_callback(lambda _: os.killpg(os.getsid(0), signal.SIGKILL))
            return future

        SqliteJobStore.put = put_and_die


    if "DIE_AFTER_COMMIT" in os.environ:
        die_after_commit()
"""
JSON = {"Content-Type": "application/json"}
_numbers = itertools.count(1)


class JobScene:
    """The jobs of one or more servers, and what their handlers have noted."""

    def __init__(self, folder: Path, store: str) -> None:
        self.folder = folder
        self.store = store
        self.ledger = folder / "ledger"
        self.ledger.touch()
        self._app = write_app(folder, APP)

    def serve(self, *options: str, **environment: str) -> Served:
        store = {"LEDGER": str(self.ledger), "PENSTOCK_JOBS_STORE": self.store}
        return Served(self._app, "--log-format", "json", *options, environment={**store, **environment})

    def rows(self, query: str) -> list[Any]:
        """Return what a query finds in the database."""
        raise NotImplementedError

    def job(self, name: str) -> tuple[Any, ...]:
        """Return the state, the code and the number of the last claim of a job."""
        [row] = self.rows(f"SELECT state, code, claim FROM penstock_jobs WHERE id = '{name}'")
        return tuple(row)

    def states(self) -> dict[str, int]:
        return dict(self.rows("SELECT state, count(*) FROM penstock_jobs GROUP BY 1"))

    def wait_final(self, *names: str, timeout: float = 20.0) -> None:
        wait_until(lambda: all(self.job(name)[0] in FINAL for name in names), f"the end of {names}", timeout=timeout)

    def wait_all_final(self, timeout: float = 60.0) -> None:
        wait_until(lambda: not {"queued", "running"} & self.states().keys(), "the end of all jobs", timeout=timeout)

    def notes(self, *of: str) -> list[list[str]]:
        """Return the notes that begin with these words, without them."""
        lines = [line.split() for line in self.ledger.read_text().splitlines()]
        return [line[len(of) :] for line in lines if line[: len(of)] == list(of)]

    def check(self) -> None:
        """Check the rules of the database."""
        raise NotImplementedError


class JobFile(JobScene):
    """Jobs in a file of SQLite."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "jobs.db"
        super().__init__(folder, f"sqlite:///{self.path}")

    def rows(self, query: str, *values: Any) -> list[Any]:
        with contextlib.closing(sqlite3.connect(self.path, timeout=30)) as connection:
            return connection.execute(query, values).fetchall()

    def stop_engine(self, served: Served) -> None:
        """Stop a server, whose workers go on, but not in a transaction: the file would be locked for all others."""
        while True:
            os.killpg(served.process.pid, signal.SIGSTOP)
            connection = sqlite3.connect(self.path, timeout=0.2, isolation_level=None)
            with contextlib.closing(connection), contextlib.suppress(sqlite3.OperationalError):
                connection.execute("BEGIN IMMEDIATE")
                return
            os.killpg(served.process.pid, signal.SIGCONT)

    def check(self) -> None:
        assert broken_rules(self.path) == {}


class JobDatabase(JobScene):
    """Jobs in a database of PostgreSQL. ``address``: where servers connect, if not to the socket."""

    def __init__(self, folder: Path, postgres: PostgresServer, *, address: str | None = None) -> None:
        self.postgres = postgres
        self.name = postgres.new_database()
        super().__init__(folder, postgres.url(self.name) if address is None else postgres.url_at(address, self.name))

    def rows(self, query: str) -> list[Any]:
        return self.postgres.execute(query, self.name)

    def check(self) -> None:
        assert broken_postgres_rules(self.rows) == {}


def send(served: Served, method: str, path: str, body: Any = None, timeout: float = 30.0) -> Answer:
    content = None if body is None else json.dumps(body).encode()
    return served.request(method, path, content, headers=JSON, timeout=timeout)


def put(served: Served, name: str, endpoint: str, webhook: str | None = None, **values: Any) -> Answer:
    more = {} if webhook is None else {"webhook": {"url": webhook}}
    return send(served, "PUT", f"/v1/jobs/{name}", {"endpoint": endpoint, "input": values, **more})


def submit(served: Served, endpoint: str, **values: Any) -> str:
    name = f"job-{next(_numbers)}"
    answer = put(served, name, endpoint, **values)
    assert answer.status == 201, answer.body
    return name
