"""Looking for several headers at once."""

from __future__ import annotations

import pytest

from penstock.app import App
from penstock.hooks import HeaderNames, Submission

NAMES = HeaderNames(["X-One", "x-two"])


def submission(headers: dict[str, str], *, as_received: bool) -> Submission:
    app = App("tests")
    app.endpoint("/square")(lambda number: number)
    made = Submission(app.endpoints[0], header=headers.get)
    if as_received:
        made.received_headers = {name.encode(): value.encode() for name, value in headers.items()}
    return made


@pytest.mark.parametrize("as_received", [True, False])
@pytest.mark.parametrize(
    ("headers", "expected"),
    [({}, False), ({"x-three": "3"}, False), ({"x-two": ""}, True), ({"x-one": "1", "x-three": "3"}, True)],
)
def test_one_of_them_is_enough(headers: dict[str, str], *, expected: bool, as_received: bool) -> None:
    """An empty header is there, too; the answer does not depend on how the transport keeps the headers."""
    made = submission(headers, as_received=as_received)
    assert made.has_any_header(NAMES) is expected
    assert sorted(made.headers_among(NAMES)) == sorted(set(headers) & set(NAMES))


def test_the_names_are_in_lower_case() -> None:
    """As a submission looks them up."""
    assert list(NAMES) == ["x-one", "x-two"]
    assert repr(NAMES) == "HeaderNames(x-one, x-two)"
