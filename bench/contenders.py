"""The programs that are compared, each with the environment, the command and the settings with which it runs."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from http_client import Payload, as_bytes, as_form, as_json

HERE = Path(__file__).resolve().parent
PEERS = HERE / "peers"
CACHE = HERE.parent / "build" / "bench"
_VERSIONS = "import importlib.metadata as m, json, sys; print(json.dumps({n: m.version(n) for n in sys.argv[1:]}))"

Command = Callable[[str, int, Mapping[str, float]], list[str]]


@dataclass(frozen=True, kw_only=True)
class Contender:
    """A program that serves the endpoints of the benchmark.

    Parameters
    ----------
    name:
        The name on the command line, and of its file of pinned packages in ``bench/peers/``, if it has one. Otherwise
        it runs in Penstock's own environment.
    title:
        The name in the tables.
    line:
        Returns the command line for a Python, a port and the options of ``servers.started``.
    packages:
        The packages whose versions are reported.
    note:
        The way in which it is configured, one sentence for the page.
    file:
        Wraps the bytes of a request in the form in which the program takes bytes.
    item:
        The same for a request that is to become part of a batch, if it differs.
    environment:
        Additional environment variables.
    headers:
        Additional headers of each request.
    is_general:
        False if it serves the endpoints of some cases only, those that name it.
    """

    name: str
    title: str
    line: Command
    packages: tuple[str, ...]
    note: str
    file: Callable[[bytes], Payload] = as_bytes
    item: Callable[[bytes], Payload] | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    is_general: bool = True

    @property
    def pins(self) -> Path:
        """The file of its pinned packages."""
        return PEERS / f"{self.name}.txt"

    @property
    def python(self) -> str:
        """The Python that it runs on."""
        return str(CACHE / self.name / "bin" / "python") if self.pins.exists() else sys.executable

    def command(self, port: int, options: Mapping[str, float]) -> list[str]:
        """Return its command line."""
        return self.line(self.python, port, options)

    def is_installed(self) -> bool:
        """Return whether its environment exists and has the pinned packages."""
        if not self.pins.exists():
            return True
        stamp = CACHE / self.name / "pins"
        return stamp.exists() and stamp.read_text(encoding="ascii") == self._digest()

    def install(self) -> None:
        """Create its environment, on the Python that runs this script. This can take minutes."""
        if self.is_installed():
            return
        folder = CACHE / self.name
        print(f"installing {self.title} into {folder}", file=sys.stderr, flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        pip = [self.python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "-r", str(self.pins)], check=True, timeout=900)
        (folder / "pins").write_text(self._digest(), encoding="ascii")

    def versions(self) -> dict[str, str]:
        """Return the versions of its packages."""
        command = [self.python, "-c", _VERSIONS, *self.packages]
        found: dict[str, str] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
        return found

    def _digest(self) -> str:
        return hashlib.sha256(self.pins.read_bytes() + sys.version.encode()).hexdigest()


def _penstock(python: str, port: int, _options: Mapping[str, float]) -> list[str]:
    return [python, "-m", "penstock_cli", "serve", "penstock_app:app", "--port", str(port)]


def _bare(python: str, port: int, _options: Mapping[str, float]) -> list[str]:
    command = [python, "-m", "gunicorn", "falcon_app:app", "-k", "asgi", "-w", "1", "-b", f"127.0.0.1:{port}"]
    return [
        *command,
        "--keep-alive",
        "75",
        "--worker-connections",
        "20000",
        "--no-control-socket",
        "--log-level",
        "error",
    ]


def _mosec(python: str, port: int, options: Mapping[str, float]) -> list[str]:
    command = [python, "mosec_app.py", "--address", "127.0.0.1", "--port", str(port), "--log-level", "error"]
    if "deadline" in options:
        command += ["--timeout", f"{options['deadline'] * 1000:.0f}"]
    if "queue" in options:
        command += ["--timeout", "600000", "--capacity", f"{options['queue']:.0f}"]
    return command


def _litserve(python: str, _port: int, _options: Mapping[str, float]) -> list[str]:
    return [python, "litserve_app.py"]


def _fastapi(python: str, port: int, _options: Mapping[str, float]) -> list[str]:
    command = [python, "-m", "uvicorn", "fastapi_app:app", "--host", "127.0.0.1", "--port", str(port)]
    return [*command, "--log-level", "warning", "--no-access-log"]


def _ray(python: str, _port: int, _options: Mapping[str, float]) -> list[str]:
    return [python, "ray_app.py"]


def _bentoml(python: str, port: int, _options: Mapping[str, float]) -> list[str]:
    command = [python, "-m", "bentoml", "serve", "bentoml_app:Service", "--host", "127.0.0.1", "--port", str(port)]
    return [*command, "--do-not-track", "--quiet"]


def _mlserver(python: str, _port: int, _options: Mapping[str, float]) -> list[str]:
    return [python, "mlserver_app.py"]


def _bentoml_item(content: bytes) -> Payload:
    return as_json({"files": [content.decode()]})


PENSTOCK = Contender(
    name="penstock",
    title="Penstock",
    line=_penstock,
    packages=("penstock", "falcon", "gunicorn", "gunicorn_h1c", "uvloop"),
    note="`penstock serve` with its defaults: one HTTP process, one worker process, all default plug-ins.",
)
BARE = Contender(
    name="bare",
    title="bare Falcon",
    line=_bare,
    packages=("falcon", "gunicorn", "gunicorn_h1c", "uvloop"),
    note=(
        "The bound: the same framework on the same server, in one process. The no-op runs in the HTTP process "
        "itself, a blocking job in one thread. There is no queue, no deadline and no batching."
    ),
    environment={"PYTHONPATH": str(HERE)},
)
MOSEC = Contender(
    name="mosec",
    title="Mosec",
    line=_mosec,
    packages=("mosec",),
    note=(
        "An HTTP process in Rust and one worker process. Its default timeout is 3 s, and its queue holds 1,024 "
        "requests."
    ),
)
LITSERVE = Contender(
    name="litserve",
    title="LitServe",
    line=_litserve,
    packages=("litserve", "fastapi", "uvicorn"),
    note=(
        "One HTTP process and one worker process, with `fast_queue` and `restart_workers`. Bytes are sent as a "
        "file of a form."
    ),
    file=as_form,
)
FASTAPI = Contender(
    name="fastapi",
    title="FastAPI",
    line=_fastapi,
    packages=("fastapi", "uvicorn"),
    note=(
        "On uvicorn with uvloop and httptools, in one process. The no-op is `async def`; a blocking job is "
        "`def`, runs in a thread and holds a lock, since a model serves one caller at a time. There is no "
        "queue and no batching."
    ),
)
RAY = Contender(
    name="ray",
    title="Ray Serve",
    line=_ray,
    packages=("ray", "fastapi", "uvicorn"),
    note="A local cluster with its HTTP proxy and one replica, `max_ongoing_requests=100`; no dashboard or access log.",
    environment={"RAY_USAGE_STATS_ENABLED": "0"},
)
BENTOML = Contender(
    name="bentoml",
    title="BentoML",
    line=_bentoml,
    packages=("bentoml", "uvicorn"),
    note=(
        "One worker, which is the HTTP process, and its one thread. No access log. In the batching case it "
        "takes text in JSON, since its batches are made of JSON fields."
    ),
    item=_bentoml_item,
    environment={"BENTOML_DO_NOT_TRACK": "True"},
)
MLSERVER = Contender(
    name="mlserver",
    title="MLServer",
    line=_mlserver,
    packages=("mlserver", "fastapi", "uvicorn"),
    note="`parallel_workers: 1`, its default: one HTTP process and one worker process. No access log.",
    is_general=False,
)
CONTENDERS = {each.name: each for each in (PENSTOCK, BARE, MOSEC, LITSERVE, FASTAPI, RAY, BENTOML, MLSERVER)}
