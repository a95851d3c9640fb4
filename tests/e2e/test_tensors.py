"""Tensors over HTTP: as JSON, and as the arrays that numpy writes."""

from __future__ import annotations

import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from tests.e2e.watching import in_background
from tests.serving import Answer, Served

pytestmark = pytest.mark.e2e

NPY = "application/x-npy"


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with Served("tests/e2e/apps/tensors_app.py:app") as served:
        yield served


def npy(array: Any) -> bytes:
    target = io.BytesIO()
    np.save(target, array, allow_pickle=True)
    return target.getvalue()


def post(served: Served, path: str, body: bytes, accept: str = "*/*") -> Answer:
    return served.request("POST", path, body, headers={"Content-Type": NPY, "Accept": accept})


def test_json_comes_and_goes_as_nested_lists(served: Served) -> None:
    """The handler has an array, which it may change, and the client lists."""
    answer = served.post_json("/double", {"x": [[1, 2], [3, 4.5]]})
    assert (answer.status, answer.json()) == (200, [[2.0, 4.0], [6.0, 9.0]])


@pytest.mark.parametrize("array", [np.array([[1, 2]], ">f4"), np.array([[1, 2], [3, 4]], "<f4", order="F")], ids=str)
def test_an_array_is_the_body(served: Served, array: Any) -> None:
    """In whatever order its bytes and its items are; the answer is JSON, unless the client accepts an array."""
    answer = post(served, "/double", npy(array))
    assert (answer.status, answer.json()) == (200, (array * 2).tolist())
    answer = post(served, "/double", npy(array), accept=f"text/plain, {NPY};q=0.9")
    assert answer.headers["content-type"] == NPY
    assert (np.load(io.BytesIO(answer.body)) == array * 2).all()


def test_json_may_be_answered_with_an_array(served: Served) -> None:
    """The two directions are independent."""
    answer = served.post_json("/double", {"x": [[1, 2]], "factor": 3}, headers={"Accept": NPY})
    assert np.load(io.BytesIO(answer.body)).tolist() == [[3.0, 6.0]]


def test_a_large_array_is_read_in_the_worker(served: Served) -> None:
    """8 MB come back as they were, doubled."""
    array = np.arange(2_000_000, dtype="float32").reshape(-1, 2)
    answer = post(served, "/double", npy(array), accept=NPY)
    assert (np.load(io.BytesIO(answer.body)) == array * 2).all()


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b"", 400, "not an array as numpy.save writes it"),
        (b"\x93NUMPY\x01\x00", 400, "not an array as numpy.save writes it"),
        (b"\x93NUMPY\x09\x00" + b" " * 100, 400, "not an array as numpy.save writes it"),
        (npy(np.ones((1, 2), "float32"))[:-1], 400, "and 7 follow"),
        (npy(np.ones((1, 2), "float32")) + b"!", 400, "and 9 follow"),
        (npy(np.ones((1, 2), "float32")).replace(b"(1, 2)", b"(-1, )"), 400, "follow"),
        (npy(np.array([object()], dtype=object)), 400, "Python objects"),
        (npy(np.ones((1, 2))), 422, "got dtype float64"),
        (npy(np.ones((1, 3), "float32")), 422, "got shape [1, 3]"),
    ],
)
def test_another_body_is_refused(served: Served, body: bytes, status: int, words: str) -> None:
    """The error says what it is; no memory is taken for what a header promises."""
    answer = post(served, "/double", body)
    assert answer.status == status
    assert words in answer.json()["detail"]


def test_a_header_may_promise_any_size(served: Served) -> None:
    """It is compared with what follows first."""
    body = npy(np.ones((1, 2), "float32")).replace(b"(1, 2), }          ", b"(9999999999999,), }")
    answer = post(served, "/double", body)
    assert (answer.status, "follow" in answer.json()["detail"]) == (400, True)


def test_a_result_of_another_datatype_is_an_error_of_the_handler(served: Served) -> None:
    """The client receives no more than that."""
    answer = served.post_json("/wrong", {"x": [[1, 2]]})
    assert (answer.status, answer.json()["error"]["code"]) == (500, "handler-error")


def test_requests_are_joined_along_the_first_dimension(served: Served) -> None:
    """Each has its own rows back; together they were one array for the handler."""
    with in_background() as start:
        first = start(served.post_json, "/rows", {"x": [[0, 0]] * 3})
        second = served.post_json("/rows", {"x": [[0, 0]] * 5})
    assert (first.result().json(), second.json()) == ([8] * 3, [8] * 5)


def test_a_batch_that_is_full_of_rows_goes_at_once(served: Served) -> None:
    """The rows of a small body are counted before it is queued: eight fill a batch, however few requests they are."""
    answer = served.post_json("/rows-patient", {"x": [[0, 0]] * 8}, timeout=20)
    assert answer.json() == [8] * 8
    assert answer.seconds < 10


def test_no_call_has_more_rows_than_a_batch(served: Served) -> None:
    """Too many for one are divided; too many in one request are refused."""
    with ThreadPoolExecutor(6) as threads:
        answers = list(threads.map(lambda rows: served.post_json("/rows", {"x": [[0, 0]] * rows}), [3] * 6))
    assert all(max(answer.json()) <= 8 for answer in answers)
    assert served.post_json("/rows", {"x": [[0, 0]] * 9}).status == 422


def test_the_document_has_both_forms(served: Served) -> None:
    """The shape is in the schema."""
    operation = served.get("/openapi.json").json()["paths"]["/double"]["post"]
    assert NPY in operation["requestBody"]["content"]
    assert NPY in operation["responses"]["200"]["content"]
