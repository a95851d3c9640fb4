"""Forms and files from real clients, through the real server: curl, requests, httpx, a browser, and damaged ones."""

from __future__ import annotations

import concurrent.futures
import hashlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import requests

import penstock
from penstock.hosting import load_app
from tests.serving import WAYS, Served

pytestmark = pytest.mark.e2e

APP = Path(__file__).parent / "apps" / "forms_app.py"
MAX_BODY = 8 << 20
LARGE = bytes(range(256)) * 12_000  # 3 MB
SMALL = b"\x89PNG\r\n\x1a\n"
OCTETS = "application/octet-stream"
BOUNDARY = "----WebKitFormBoundary7MA4YWxkTrZu0gW"
FORM = f"multipart/form-data; boundary={BOUNDARY}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder for temporary files of the server."""
    return tmp_path_factory.mktemp("temporary")


@pytest.fixture(scope="module")
def served(folder: Path) -> Iterator[Served]:
    """One server for all: at the end, its workers are the first it had, and nothing is left of the uploads."""
    options = ("--max-body", str(MAX_BODY), "--log-format", "json")
    with Served(APP, *options, environment={"TMPDIR": str(folder)}) as served:
        before, files = pids(served), set(folder.rglob("*"))
        yield served
        assert pids(served) == before
        assert set(folder.rglob("*")) == files
        assert not served.events("internal-error")


def pids(served: Served) -> list[int]:
    pools = served.status()["pools"]
    return [worker["pid"] for name, pool in pools.items() if name != "fragile" for worker in pool["workers"]]


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "cat \xfc.png"
    path.write_bytes(SMALL)
    return path


def facts(name: str, media_type: str, content: bytes) -> list[Any]:
    return [name, media_type, len(content), hashlib.sha256(content).hexdigest()]


def part(head: str, content: bytes) -> bytes:
    return f"--{BOUNDARY}\r\nContent-Disposition: form-data; name={head}\r\n\r\n".encode() + content + b"\r\n"


END = f"--{BOUNDARY}--\r\n".encode()


# ---- clients


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl_sends_a_file_beside_other_fields(served: Served, picture: Path) -> None:
    """``curl -F`` is the simplest client: a file, its media type, a field, and the path and query around them."""
    url = f"{served.base_url}/users/7/caption?verbose=1"
    command = ["curl", "-sS", "-F", f"picture=@{picture};type=image/png", "-F", "words=3", url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    assert httpx.Response(200, text=done.stdout).json() == {
        "user": 7,
        "picture": facts(picture.name, "image/png", SMALL),
        "words": 3,
        "query": "verbose=1",
    }
    done = subprocess.run(
        ["curl", "-sS", "-d", "input=3", f"{served.base_url}/square"], capture_output=True, timeout=20, check=True
    )
    assert done.stdout == b"9.0"


def test_requests_sends_files_and_fields(served: Served, picture: Path) -> None:
    """Several files under one name, lists, and names that are not ASCII (requests sends those as ``filename*``)."""
    with picture.open("rb") as first:
        files = [("files", (picture.name, first, "image/png")), ("files", ("b.bin", LARGE))]
        answer = requests.post(f"{served.base_url}/many", files=files, data={"notes": ["x", "y"]}, timeout=20)
    assert answer.json() == [[facts(picture.name, "image/png", SMALL), facts("b.bin", OCTETS, LARGE)], ["x", "y"]]
    answer = requests.post(f"{served.base_url}/square", data={"input": 3}, timeout=20)
    assert answer.json() == 9.0


def test_httpx_sends_files_and_fields(served: Served) -> None:
    """The same from httpx; a raw endpoint takes the file by its parameter's name, or the body as it is."""
    with httpx.Client(base_url=served.base_url) as client:
        answer = client.post("/users/7/caption", files={"picture": ("cat.png", SMALL)}, data={"words": "3"})
        assert answer.json()["picture"] == facts("cat.png", "image/png", SMALL)
        expected = hashlib.sha256(LARGE).hexdigest()
        assert client.post("/digest", files={"file": LARGE}).json() == expected
        assert client.post("/digest", content=LARGE).json() == expected
        assert client.get("/users/7", params={"tags": ["a", "b c"], "deep": "true"}).json() == [7, ["a", "b c"], True]


@pytest.mark.parametrize("way", WAYS)
def test_a_browser_sends_what_was_left_empty(served: Served, way: str) -> None:
    """Empty inputs, no file chosen, and a quote in a name, as Chromium writes them; by each way through the server."""
    body = part('"name"', b"Ann") + part('"picture"; filename=""\r\nContent-Type: application/octet-stream', b"")
    answer = served.post("/optional", body + part('"size"', b"") + END, media_type=FORM, headers=WAYS[way])
    assert answer.json() == ["Ann", None, False, 3]
    body = part('"name"', b"") + part('"picture"; filename="a%22b.png"', b"x") + part('"agreed"', b"on")
    answer = served.post("/optional", body + END, media_type=FORM, headers=WAYS[way])
    assert answer.json() == ["", 'a"b.png', True, 3]


def test_each_request_of_a_batch_has_its_own_file(served: Served) -> None:
    """Uploads are batched like any other input, beside other fields; one that does not fit fails alone."""

    def send(number: int) -> httpx.Response:
        files = {"picture": (f"{number}.png", b"x" * number)}
        return httpx.post(f"{served.base_url}/batch", files=files, data={"words": str(number) if number else "none"})

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(send, range(8)))
    assert answers[0].status_code == 422
    assert [answer.json()[:4] for answer in answers[1:]] == [[f"{n}.png", "image/png", n, n] for n in range(1, 8)]
    assert max(answer.json()[4] for answer in answers[1:]) > 1


def test_a_get_request_may_be_answered_with_a_stream(served: Served) -> None:
    """A browser's ``EventSource`` can send nothing but GET."""
    answer = served.get("/count/3?step=2", headers={"Accept": "text/event-stream"})
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert [line for line in answer.body.splitlines() if line.startswith(b"data: ")][:3] == [
        b"data: 0",
        b"data: 2",
        b"data: 4",
    ]


def test_the_body_of_a_get_request_is_not_the_next_request(served: Served) -> None:
    """Nothing reads it, and the connection goes on behind it."""
    head = b"GET /users/%d HTTP/1.1\r\nHost: test\r\n"
    with served.connect() as client:
        client.sendall(head % 7 + b"Content-Length: 7\r\n\r\nignored" + head % 8 + b"Connection: close\r\n\r\n")
        answers = b"".join(iter(lambda: client.recv(65536), b""))
    assert answers.count(b"HTTP/1.1 200") == 2
    assert answers.endswith(b"[8,[],false]")


@pytest.mark.parametrize("content", [SMALL, LARGE], ids=["small", "large"])
def test_the_attempt_after_a_crash_has_the_same_form(served: Served, content: bytes) -> None:
    """The worker dies with the first attempt; the second one reads the same file."""
    answer = httpx.post(f"{served.base_url}/fragile", files={"picture": ("cat.png", content)}, timeout=30)
    assert answer.json() == [2, *facts("cat.png", "image/png", content)]


def test_an_embedding_program_calls_the_same_endpoints() -> None:
    """Without HTTP, all parameters are in one mapping, and a file is an ``Upload`` or bytes."""
    with penstock.start_engine(load_app(str(APP))) as engine:
        upload = penstock.Upload(SMALL, "cat.png", "image/png")
        called = engine.call("users/{user_id}/caption", {"user_id": 7, "picture": upload, "words": 3})
        assert called == {"user": 7, "picture": facts("cat.png", "image/png", SMALL), "words": 3, "query": ""}
        assert engine.call("show", {"user_id": 7, "tags": ["a"]}) == [7, ["a"], False]
        assert engine.call("digest", LARGE) == hashlib.sha256(LARGE).hexdigest()


# ---- damage


@pytest.mark.parametrize("size", [10, 100_000])
def test_a_form_without_its_end_is_malformed(served: Served, size: int) -> None:
    """A 400 for a truncated form, small or large: one is looked at by the HTTP process, the other by the worker."""
    body = part('"picture"; filename="a.png"', b"x" * size)
    answer = served.post("/users/7/caption", body, media_type=FORM)
    assert (answer.status, answer.json()["error"]["code"]) == (400, "invalid-request")
    assert "Unexpected end of multipart stream" in answer.json()["detail"]


def test_a_client_that_leaves_in_the_middle_leaves_nothing(served: Served) -> None:
    """The upload is dropped with its connection; the server answers the next request as ever."""
    head = f"POST /users/7/caption HTTP/1.1\r\nHost: test\r\nContent-Type: {FORM}\r\nContent-Length: 3000000\r\n\r\n"
    with served.connect() as client:
        client.sendall(head.encode() + part('"picture"; filename="a.png"', LARGE)[:1_000_000])
    assert served.post_json("/square", {"input": 3}).json() == 9.0


@pytest.mark.parametrize(
    ("media_type", "body", "refusal"),
    [
        ("multipart/form-data", part('"picture"; filename="a"', b"x") + END, (400, "has no boundary")),
        ("multipart/form-data; boundary=other", part('"picture"; filename="a"', b"x") + END, (400, "cannot be read")),
        (FORM, b"", (400, "cannot be read")),
        (FORM, part('"picture"; filename="a"', b"x") * 65 + END, (413, "at most 64 parts")),
        (FORM, part('"picture"; filename="a"\r\nX: ' + "y" * 9000, b"x") + END, (413, "8192 bytes of headers")),
        (FORM, part('"picture"; filename="a"', b"x" * MAX_BODY) + END, (413, str(MAX_BODY))),
        (FORM, part('"picture"; filename="a"', b"x" * 100_000) * 65 + END, (413, "at most 64 parts")),
        (FORM, part('"image"; filename="a"', b"x") + END, (422, "$.image: unknown field")),
        ("application/json", b"{}", (415, "send it with curl -F picture=@FILE")),
    ],
    ids=str,
)
def test_a_form_at_fault_is_refused(served: Served, media_type: str, body: bytes, refusal: tuple[int, str]) -> None:
    """400 for what cannot be read, 413 for too much of anything, and an advice for what is not a form."""
    answer = served.post("/users/7/caption", body, media_type=media_type)
    assert answer.status == refusal[0]
    assert refusal[1] in answer.json()["detail"]


@pytest.mark.parametrize("name", ["../../etc/cron.d/evil", "..\\..\\evil", "/evil", "C:\\evil"])
def test_a_path_in_the_name_of_a_file_leads_nowhere(served: Served, folder: Path, name: str) -> None:
    """Only the last part of it arrives, and there is no file of that name anywhere near."""
    body = part(f'"picture"; filename="{name}"', b"x") + END
    arrived = served.post("/users/7/caption", body, media_type=FORM).json()["picture"][0]
    assert arrived == "evil"
    assert not list(folder.parent.rglob("*evil*"))
