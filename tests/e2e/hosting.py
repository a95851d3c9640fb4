"""The ways to serve ``apps/servers_app.py``, and what was found out about each of them.

The findings are committed, in ``docs/servers.json``, as the table in ``docs/how-to/mounting.md`` is made from them. A
test compares what it finds with the committed finding; with ``RECORD_FINDINGS`` set to a file, it writes it there.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.e2e.apps.marks import FOLDER_VARIABLE
from tests.serving import HOST, ROOT, Answer, Served

MODULE = "tests.e2e.apps.servers_app"
PREFIX = "/models"
FINDINGS = ROOT / "docs" / "servers.json"
RECORD_VARIABLE = "RECORD_FINDINGS"


@dataclass(frozen=True)
class Host:
    """One way to serve Penstock: a server, with its options, and an application.

    Attributes
    ----------
    name:
        Its name in the table.
    words:
        The command after ``python -m``; ``{bind}``, ``{host}`` and ``{port}`` are replaced.
    application:
        An attribute of ``apps/servers_app.py``.
    needs:
        The packages that must be installed.
    hello:
        The other framework, which answers ``/hello``; "" if there is none.
    drops_unsent:
        True if the server, when it cuts a response off, drops what it has not sent yet.
    is_quick:
        True if each run of the suite includes it.
    """

    name: str
    words: str
    application: str = "asgi"
    needs: tuple[str, ...] = ()
    hello: str = ""
    drops_unsent: bool = False
    is_quick: bool = False

    def __str__(self) -> str:
        return self.name.replace(" ", "-")

    @property
    def is_missing(self) -> bool:
        return any(importlib.util.find_spec(name) is None for name in (self.words.split()[0], *self.needs))

    def command(self, port: int) -> list[str]:
        words = self.words.format(bind=f"{HOST}:{port}", host=HOST, port=port).split()
        return [sys.executable, "-m", *words, f"{MODULE}:{self.application}"]


_GUNICORN = "gunicorn --no-control-socket --bind {bind} --worker-class"
_UVICORN = "uvicorn --host {host} --port {port} --log-level warning"
_HYPERCORN = "hypercorn --bind {bind} --graceful-timeout 10"
_GRANIAN = "granian --host {host} --port {port} --log-level warning --interface"
_ROOT = f"--root-path {PREFIX}"

HOSTS = [
    Host("penstock serve", "penstock_cli serve --host {host} --port {port}", "app"),
    Host("gunicorn asgi", f"{_GUNICORN} asgi {_ROOT}"),
    Host("uvicorn h11", f"{_UVICORN} --http h11 {_ROOT}", needs=("h11",)),
    Host("uvicorn httptools", f"{_UVICORN} --http httptools {_ROOT}", needs=("httptools",)),
    Host("hypercorn asyncio", f"{_HYPERCORN} --worker-class asyncio {_ROOT}", is_quick=True),
    Host("hypercorn uvloop", f"{_HYPERCORN} --worker-class uvloop {_ROOT}", needs=("uvloop",)),
    Host("hypercorn trio", f"{_HYPERCORN} --worker-class trio {_ROOT}", is_quick=True),
    Host("granian asgi", f"{_GRANIAN} asgi"),
    Host("FastAPI on uvicorn", _UVICORN, "fastapi_mounted", needs=("fastapi",), hello="fastapi", is_quick=True),
    Host(
        "Starlette on hypercorn trio",
        f"{_HYPERCORN} --worker-class trio",
        "starlette_mounted",
        ("starlette",),
        "starlette",
    ),
    Host("Django on uvicorn", _UVICORN, "django_asgi_mounted", needs=("django",), hello="django", is_quick=True),
    Host("gunicorn gthread", f"{_GUNICORN} gthread --threads 4", "wsgi"),
    Host("gunicorn sync", f"{_GUNICORN} sync", "wsgi"),
    Host("granian wsgi", f"{_GRANIAN} wsgi --blocking-threads 4", "wsgi", drops_unsent=True),
    Host(
        "Flask on gunicorn gthread",
        f"{_GUNICORN} gthread --threads 4",
        "flask_mounted",
        ("flask",),
        "flask",
        is_quick=True,
    ),
    Host(
        "Django on gunicorn gthread", f"{_GUNICORN} gthread --threads 4", "django_wsgi_mounted", ("django",), "django"
    ),
]


class Hosted(Served):
    """An application of ``apps/servers_app.py`` under one of the hosts."""

    def __init__(self, host: Host, marks: Path) -> None:
        super().__init__("", environment={FOLDER_VARIABLE: str(marks)})
        self.way = host
        self.marks = marks
        self.prefix = PREFIX if host.hello else ""
        self.command = host.command(self.port)

    def _is_ready(self) -> bool:
        assert self.process.poll() is None, f"{self!r} ended early with exit code {self.process.returncode}"
        try:
            return self.get(f"{self.prefix}/readyz", timeout=5.0).status == 200
        except OSError:
            return False

    def ask(self, path: str, value: object, **more: Any) -> Answer:
        return self.post_json(self.prefix + path, value, **more)

    def raw(self, path: str, value: object, *, version: str = "1.1") -> bytes:
        """Return a whole request, for clients that use a socket of their own."""
        body = json.dumps(value).encode()
        head = f"POST {self.prefix}{path} HTTP/{version}\r\nHost: test\r\nContent-Type: application/json\r\n"
        return head.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body


def committed_findings() -> dict[str, dict[str, Any]]:
    """Return what was found, by the host and the question."""
    found: dict[str, dict[str, Any]] = json.loads(FINDINGS.read_text(encoding="utf-8"))["findings"]
    return found


def report(host: Host, question: str, finding: str, milliseconds: float | None = None) -> None:
    """Compare a finding with the committed one, or record it. Milliseconds are only recorded."""
    place = os.environ.get(RECORD_VARIABLE)
    if place is None:
        assert finding == committed_findings()[host.name][question], (
            f"{host.name}, {question}: see `python docs/make_server_table.py --measure`"
        )
        return
    path = Path(place)
    found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    found.setdefault(host.name, {})[question] = finding
    if milliseconds is not None:
        found[host.name][f"{question} ms"] = round(milliseconds, 1)
    path.write_text(json.dumps(found), encoding="utf-8")
