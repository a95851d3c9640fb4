"""The files of a new project: an app, its test, and an image to deploy it in."""

from __future__ import annotations

import re
from string import Template
from typing import Final


def files_of_project(name: str) -> dict[str, str]:
    """Return the texts of the files of a project with this name, by file name."""
    image = re.sub("[^a-z0-9]+", "-", name.lower()).strip("-") or "app"
    readme = Template(_README).substitute(name=name, image=image)
    return {"README.md": readme, **_FILES}


_APP = '''\
"""The app: its endpoints, and the models behind them."""

from collections.abc import Iterator

from penstock import App, Timeouts

app = App(__name__)


@app.endpoint("/square", timeouts=Timeouts(queue=2, execution=10))
class Square:
    def setup(self) -> None:  # once in each worker: load the model here
        self.exponent = 2

    def predict(self, input: float) -> float:
        return input**self.exponent


@app.endpoint("/count")
def count(n: int) -> Iterator[dict[str, int]]:
    for number in range(n):  # a stream: each value is sent when it is yielded
        yield {"number": number}
'''

_TEST = '''\
"""The endpoints, called in real workers, without HTTP."""

import pytest
from penstock import InvalidRequest, ThreadedEngine
from penstock.testing import engine_fixture

from app import app

engine = engine_fixture(app)


def test_square(engine: ThreadedEngine) -> None:
    assert engine.call("square", {"input": 3}) == 9


def test_square_takes_numbers(engine: ThreadedEngine) -> None:
    with pytest.raises(InvalidRequest):
        engine.call("square", {"input": "three"})


def test_count(engine: ThreadedEngine) -> None:
    with engine.stream("count", {"n": 3}) as chunks:
        assert list(chunks) == [{"number": 0}, {"number": 1}, {"number": 2}]
'''

_README = """\
# $name

Served by Penstock.

Install what it needs, and pytest:

    pip install -r requirements.txt pytest

Serve it on http://127.0.0.1:8000, and call it from another terminal:

    penstock serve app:app
    curl -H 'Content-Type: application/json' -d '{"input": 3}' http://127.0.0.1:8000/square

Test it:

    python -m pytest

Or call it once, without a server:

    penstock call app:app /square '{"input": 3}'

Build an image with it, and run that:

    docker build -t $image .
    docker run --rm -p 8000:8000 $image
"""

_DOCKERFILE = """\
# An image for an app: put this file beside app.py and requirements.txt, which names penstock and what the app needs.
# The image runs with any user id, on a read-only root; only /tmp, a small tmpfs, must be writable.
ARG PYTHON=3.13

FROM python:${PYTHON}-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/venv
COPY requirements.txt /build/
RUN /opt/venv/bin/pip install --no-cache-dir -r /build/requirements.txt
COPY . /app/
# Compiled here, because a read-only root cannot keep the result later: each start would compile again.
RUN /opt/venv/bin/python -m compileall -q /opt/venv/lib /app

FROM python:${PYTHON}-slim
COPY --from=build /opt/venv /opt/venv
COPY --from=build /app /app
ENV PATH=/opt/venv/bin:$PATH \\
    PYTHONDONTWRITEBYTECODE=1 \\
    PENSTOCK_HOST=0.0.0.0 \\
    PENSTOCK_PORT=8000 \\
    PENSTOCK_LOG_FORMAT=json
WORKDIR /app
USER 10001:0
EXPOSE 8000
# The exec form: the server itself is PID 1, gets SIGTERM, drains, and reaps what its workers leave. It needs no init.
ENTRYPOINT ["penstock", "serve"]
CMD ["app:app"]
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \\
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/livez', timeout=4)"]
"""

_DOCKERIGNORE = """\
.git
.venv
**/__pycache__
*.key
*.pem
.env
"""

_FILES: Final = {
    "app.py": _APP,
    "test_app.py": _TEST,
    "requirements.txt": "penstock[fast]\n",
    "Dockerfile": _DOCKERFILE,
    ".dockerignore": _DOCKERIGNORE,
}
