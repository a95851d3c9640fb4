from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from examples import filetype
from tests.serving import ROOT, Served

DATA = ROOT / "examples" / "data"
LABELS = {
    "page.png": "png",
    "receipt.jpg": "jpeg",
    "receipt.gif": "gif",
    "receipt.pdf": "pdf",
    "pipe.py": "python",
    "hall.html": "html",
    "gates.sh": "shell",
    "table.csv": "csv",
    "gates.json": "json",
    "sources.zip": "zip",
    "tone.wav": "wav",
    "empty.bin": "empty",
}
# The content type that curl sends with --data-binary by default.
CURL_MEDIA_TYPE = "application/x-www-form-urlencoded"


@pytest.fixture(scope="module")
def model() -> filetype.Identify:
    model = filetype.Identify()
    model.setup()
    return model


def test_a_batch_has_one_answer_for_each_file_in_order(model: filetype.Identify) -> None:
    """A batch has one answer per file, in the same order."""
    answers = model.predict([(DATA / name).read_bytes() for name in LABELS])
    assert [answer["label"] for answer in answers] == list(LABELS.values())


def test_an_answer_has_label_group_mime_type_and_score(model: filetype.Identify) -> None:
    """An answer consists of four plain values that JSON can represent."""
    [answer] = model.predict([(DATA / "pipe.py").read_bytes()])
    assert answer["group"] == "code"
    assert answer["mime_type"] == "text/x-python"
    assert 0.9 < answer["score"] <= 1.0
    assert json.loads(json.dumps(answer)) == answer


def test_importing_the_example_loads_no_model() -> None:
    """The module is imported before workers are forked, so only ``setup`` creates the model."""
    assert not hasattr(filetype.Identify(), "magika")


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with Served("examples/filetype.py") as served:
        yield served


@pytest.mark.e2e
@pytest.mark.parametrize("name", LABELS)
def test_a_posted_file_is_identified(served: Served, name: str) -> None:
    """A posted file of any type is identified, with the content type that curl sends by default."""
    answer = served.post("/identify", (DATA / name).read_bytes(), media_type=CURL_MEDIA_TYPE)
    assert answer.status == 200, answer.body
    assert answer.json()["label"] == LABELS[name]


@pytest.mark.e2e
def test_many_at_once_each_have_their_own_answer(served: Served) -> None:
    """Each of the requests that share a batch gets the answer for its own file."""
    names = [*LABELS] * 4
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda name: served.post("/identify", (DATA / name).read_bytes()), names))
    assert [answer.json()["label"] for answer in answers] == [LABELS[name] for name in names]


@pytest.mark.e2e
def test_the_readme_shows_the_real_answer(served: Served) -> None:
    """The README quotes the server's answer verbatim."""
    answer = served.post("/identify", (DATA / "pipe.py").read_bytes(), media_type=CURL_MEDIA_TYPE)
    assert answer.body.decode() in (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.e2e
def test_sigterm_ends_it_with_nothing_left() -> None:
    """After SIGTERM the exit code is 0, and no process of the example is left."""
    with Served(Path("examples") / "filetype.py") as served:
        assert served.post("/identify", b"#!/bin/sh\necho hello\n").status == 200
        assert served.stop() == 0
        assert served.survivors() == []
