"""``penstock scale``: what it sends, and what it says when it cannot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from penstock_shutdown import scale_command
from tests.serving import free_port

KEY = "Zt0k9d3xQ6mB8uV1yN5rT2wJ7pL4sC0aHfGeKiOb"


def run(*arguments: str, **environment: str) -> Result:
    variables = {"PENSTOCK_SHUTDOWN_KEY": None, "PENSTOCK_SHUTDOWN_KEY_FILE": None, **environment}
    return CliRunner().invoke(scale_command.scale, arguments, env=variables)


@pytest.fixture(name="sent")
def _sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    sent: list[tuple[Any, ...]] = []

    def post(*request: Any) -> dict[str, Any]:
        sent.append(request)
        return {"target": request[-1], "workers": [{"state": "busy"}, {"state": "starting"}]}

    monkeypatch.setattr(scale_command, "_post", post)
    return sent


def test_each_pool_is_scaled_in_turn(sent: list[tuple[Any, ...]]) -> None:
    """The output has the number of workers that each will have, and that of the ready ones."""
    result = run("gpu=3", "a=b=1", PENSTOCK_SHUTDOWN_KEY=KEY)
    assert (result.exit_code, result.output) == (0, "gpu: 3 workers, 1 ready now\na=b: 1 worker, 1 ready now\n")
    assert sent == [("http://127.0.0.1:8000", KEY, "gpu", 3), ("http://127.0.0.1:8000", KEY, "a=b", 1)]


def test_the_key_may_be_in_a_file(sent: list[tuple[Any, ...]], tmp_path: Path) -> None:
    """As the server reads it."""
    file = tmp_path / "shutdown.key"
    file.write_text(f"{KEY}\n", encoding="ascii")
    assert run("gpu=3", "--key-file", str(file)).exit_code == 0
    assert sent[0][1] == KEY


@pytest.mark.parametrize(
    ("arguments", "environment", "words"),
    [
        ([], {}, "Missing argument"),
        (["gpu"], {}, "'gpu' is not NAME=N, such as gpu=3."),
        (["gpu=-1"], {}, "is not NAME=N"),
        (["=3"], {}, "is not NAME=N"),
        (["gpu=3"], {}, "there is no key; set PENSTOCK_SHUTDOWN_KEY, or pass --key-file."),
        (["gpu=3", "--key-file", "/nowhere"], {}, "does not exist"),
        (["gpu=3", "--url", "localhost:8000"], {"PENSTOCK_SHUTDOWN_KEY": KEY}, "write it as in http://127.0.0.1:8000"),
    ],
)
def test_a_wrong_command_line_is_refused(arguments: list[str], environment: dict[str, str], words: str) -> None:
    """With exit code 2, before anything is sent."""
    result = run(*arguments, **environment)
    assert result.exit_code == 2
    assert words in result.output


def test_a_server_that_does_not_answer_is_named() -> None:
    """With exit code 1."""
    url = f"http://127.0.0.1:{free_port()}"
    result = run("gpu=3", "--url", url, PENSTOCK_SHUTDOWN_KEY=KEY)
    assert result.exit_code == 1
    assert f"no answer from {url}: " in result.output
