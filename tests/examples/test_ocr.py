from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from examples import ocr
from examples.make_data import PAGE_LINES, RECEIPT_LINES
from penstock import InvalidRequest
from tests.serving import ROOT, Served

DATA = ROOT / "examples" / "data"


def squeezed(lines: list[str] | tuple[str, ...]) -> list[str]:
    """Return the lines without spaces: models differ in the gap that they read as a space."""
    return ["".join(line.split()) for line in lines]


@pytest.fixture(scope="module")
def model() -> ocr.Read:
    model = ocr.Read()
    model.setup()
    return model


def test_the_lines_of_a_page_are_read_from_top_to_bottom(model: ocr.Read) -> None:
    """Every line that was drawn is read, in order and with high confidence."""
    page = model.predict((DATA / "page.png").read_bytes())
    assert squeezed([line.text for line in page.lines]) == squeezed(PAGE_LINES)
    assert min(line.score for line in page.lines) > 0.9


def test_boxes_are_four_corners_on_the_page(model: ocr.Read) -> None:
    """A box has four corners in pixels, clockwise from the top left, one line below the other."""
    page = model.predict((DATA / "page.png").read_bytes())
    for line in page.lines:
        assert [len(corner) for corner in line.box] == [2, 2, 2, 2]
        (left, top), _, (right, bottom), _ = line.box
        assert 0 <= left < right <= 1000
        assert 0 <= top < bottom <= 720
    tops = [line.box[0][1] for line in page.lines]
    assert tops == sorted(tops)


def test_a_page_without_text_has_no_lines(model: ocr.Read) -> None:
    """An empty page is an answer, not an error."""
    assert model.predict((DATA / "blank.png").read_bytes()) == ocr.Page(lines=[])


@pytest.mark.parametrize("name", ["pipe.py", "receipt.jpg", "empty.bin"])
def test_what_is_not_a_png_is_the_callers_error(model: ocr.Read, name: str) -> None:
    """A body that is not a PNG is refused as an invalid request."""
    with pytest.raises(InvalidRequest, match="not a PNG"):
        model.predict((DATA / name).read_bytes())


def test_a_truncated_png_is_the_callers_error(model: ocr.Read) -> None:
    """A truncated PNG is refused, not partly read."""
    with pytest.raises(InvalidRequest, match="not a PNG"):
        model.predict((DATA / "page.png").read_bytes()[:2000])


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with Served("examples/ocr.py") as served:
        yield served
        assert served.stop() == 0
        assert served.survivors() == []


@pytest.mark.e2e
def test_two_pages_at_once_are_read_by_two_workers(served: Served) -> None:
    """Posted pages come back as lines with boxes and scores, two at a time."""
    pages = {"page.png": PAGE_LINES, "receipt.png": RECEIPT_LINES}
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda name: served.post("/read", (DATA / name).read_bytes()), pages))
    for answer, lines in zip(answers, pages.values(), strict=True):
        assert answer.status == 200, answer.body
        assert squeezed([line["text"] for line in answer.json()["lines"]]) == squeezed(lines)


@pytest.mark.e2e
def test_a_bad_picture_is_a_422_and_harms_no_other(served: Served) -> None:
    """A body that is not a PNG is answered with a problem document, and the next page is read."""
    refused = served.post("/read", b"GIF89a nonsense")
    assert refused.status == 422
    assert refused.headers["content-type"].startswith("application/problem+json")
    assert refused.json()["type"] == "urn:penstock:invalid-request"
    assert served.post("/read", (DATA / "receipt.png").read_bytes()).status == 200
