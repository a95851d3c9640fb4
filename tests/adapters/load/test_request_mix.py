"""The requests of a load, and the input that cannot be one."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path

import pytest

from penstock_load import LoadError, PreparedRequest, RequestMix, header_of, read_mix, request_bytes


def mix_of(folder: Path, *lines: str) -> RequestMix:
    file = folder / "mix.jsonl"
    file.write_text("\n".join(lines), encoding="utf-8")
    return read_mix(file, "host:1", "/default", {"X-All": "1", "X-Key": "a"})


def test_a_request_has_its_host_its_length_and_its_body() -> None:
    """The body is JSON unless a header says otherwise."""
    found = request_bytes("POST", "host:1", "/a?b=c", {}, b"{}").content
    assert found == (
        b"POST /a?b=c HTTP/1.1\r\nHost: host:1\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
    )
    assert (
        b"\r\ncontent-type: text/csv\r\n" in request_bytes("POST", "h", "/", {"content-type": "text/csv"}, b"1").content
    )
    assert b"application/json" not in request_bytes("POST", "h", "/", {"content-type": "text/csv"}, b"1").content


def test_a_get_has_no_length_and_an_empty_post_has_one() -> None:
    """As servers expect it."""
    assert b"Content-Length" not in request_bytes("GET", "h", "/", {}).content
    assert b"Content-Length: 0\r\n" in request_bytes("POST", "h", "/", {}).content


@pytest.mark.parametrize(
    "text", ["no colon", ": no name", "a b: c", "X-Key: a\r\nEvil: 1", "X: \x00", "Content-Length: 3", "X: \u20ac"]
)
def test_a_header_that_cannot_be_sent_is_refused(text: str) -> None:
    """A line break would begin another header; the value is not repeated in the message, since it may be a key."""
    with pytest.raises(LoadError) as caught:
        header_of(text)
    assert "Evil" not in str(caught.value)


@pytest.mark.parametrize(
    ("method", "path"), [("GE T", "/"), ("", "/"), ("GET", "a"), ("GET", "/a b"), ("GET", "/\u00e4")]
)
def test_a_method_or_path_that_cannot_be_sent_is_refused(method: str, path: str) -> None:
    """They would make another first line."""
    with pytest.raises(LoadError):
        request_bytes(method, "h", path, {})


def test_a_mix_has_all_kinds_by_their_weights(tmp_path: Path) -> None:
    """A kind with three times the weight is sent three times as often; the order depends on the seed only."""
    mix = mix_of(tmp_path, '{"path": "/a", "weight": 3}', "", '{"path": "/b"}')

    def drawn(seed: int) -> list[PreparedRequest]:
        choose = mix.chooser(random.Random(seed))
        return [choose() for _ in range(4000)]

    counts = Counter(drawn(1))
    assert counts[mix.requests[0]] == pytest.approx(3000, rel=0.05)
    assert drawn(1) == drawn(1) != drawn(2)


def test_a_line_has_a_method_a_path_headers_and_a_body(tmp_path: Path) -> None:
    """Without them: the URL's path, the headers of the command line, and GET or POST by the body."""
    (tmp_path / "body.bin").write_bytes(b"\x00\x01")
    lines = [
        {},
        {"body": {"a": 1}},
        {"body": "text", "method": "PUT", "path": "/p"},
        {"body_file": "body.bin", "headers": {"x-key": "b"}},
    ]
    requests = [request.content for request in mix_of(tmp_path, *map(json.dumps, lines)).requests]
    assert requests[0].startswith(b"GET /default ")
    assert b"X-All: 1\r\nX-Key: a\r\n" in requests[0]
    assert (requests[1].startswith(b"POST /default "), requests[1][-8:]) == (True, b'{"a": 1}')
    assert (requests[2].startswith(b"PUT /p "), requests[2][-4:]) == (True, b"text")
    assert b"x-key: b" in requests[3]
    assert b"X-Key: a" not in requests[3]
    assert requests[3].endswith(b"\r\n\r\n\x00\x01")


@pytest.mark.parametrize(
    "line",
    [
        "nonsense",
        "[]",
        '{"wieght": 1}',
        '{"weight": 0}',
        '{"weight": -1}',
        '{"weight": true}',
        '{"weight": 1e999}',
        '{"body": 1, "body_file": "a"}',
        '{"body_file": "missing"}',
        '{"headers": [1]}',
        '{"headers": {"a": 1}}',
        '{"method": 1}',
        '{"path": "a"}',
    ],
)
def test_a_line_that_cannot_be_used_is_named(line: str, tmp_path: Path) -> None:
    """The message has the number of the line."""
    with pytest.raises(LoadError, match="line 2: "):
        mix_of(tmp_path, "{}", line)


def test_an_empty_or_missing_mix_is_refused(tmp_path: Path) -> None:
    """There would be nothing to send."""
    with pytest.raises(LoadError, match="is empty"):
        mix_of(tmp_path, "", " ")
    with pytest.raises(LoadError, match="cannot read"):
        read_mix(tmp_path / "none", "h", "/", {})
