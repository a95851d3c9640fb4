"""docs/how-to/streams.md: its app is served, and its commands print what it says."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import wave
from collections.abc import Iterator

import pytest

from tests.serving import ROOT, Served

pytestmark = [pytest.mark.e2e, pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")]

PAGE = (ROOT / "docs" / "how-to" / "streams.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
APP = "\n\n".join(block for language, block in BLOCKS if language == "python")
SHELL = "".join(block for language, block in BLOCKS if not language)
COMMANDS = re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", SHELL, re.MULTILINE)
PRINTING = [(command, printed) for command, printed in COMMANDS if ".wav" not in command]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("page")
    (folder / "streams.py").write_text(APP, encoding="utf-8")
    with Served("streams.py", folder=folder) as served:
        yield served


def run(command: str, served: Served) -> str:
    """Run a command of the page against the server; return what it prints."""
    here = command.replace("http://127.0.0.1:8000", served.base_url)
    here = re.sub("^penstock", f"{sys.executable} -m penstock_cli", here)
    done = subprocess.run(here, shell=True, cwd=served.folder, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().replace("\r\n", "\n")


@pytest.mark.parametrize(("command", "printed"), PRINTING, ids=[command[-40:] for command, _ in PRINTING])
def test_a_command_prints_what_the_page_says(served: Served, command: str, printed: str) -> None:
    """A reader who pastes it sees the same."""
    assert printed
    assert run(command, served) == printed


def test_the_tone_is_audio(served: Served) -> None:
    """A player can read it: by curl, and without a server."""
    for name, seconds in (("tone.wav", 2), ("short.wav", 1)):
        (command,) = [command for command, _ in COMMANDS if name in command]
        run(command, served)
        with wave.open(str(served.folder / name)) as sound:
            assert (sound.getnchannels(), sound.getframerate()) == (1, 8000)
            assert len(sound.readframes(sound.getnframes())) == seconds * 8000 * 2


def test_a_client_that_connects_again_goes_on(served: Served) -> None:
    """With the id of the last event that it has seen."""
    headers = {"Accept": "text/event-stream", "Last-Event-ID": "0"}
    answer = served.request("GET", "/write?prompt=to%20be", headers=headers)
    assert answer.body.startswith(b'event: word\nid: 1\ndata: "be"\n\ndata: "."\n\n')


def test_a_stream_that_is_cut_is_an_error_to_curl(served: Served) -> None:
    """Exit code 18: the transfer is not complete. The handler is stopped in the middle by a wrong argument."""
    arguments = "-H 'Content-Type: application/json' -d '{\"hertz\": 1e308}'"
    done = subprocess.run(
        f"curl -sN {arguments} {served.base_url}/tone", shell=True, capture_output=True, timeout=30, check=False
    )
    assert (done.returncode, done.stdout[:4]) == (18, b"RIFF")
