"""The file of gunicorn's settings: what it may have, and the answer to everything else."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import pytest
from gunicorn.config import Config

from penstock_gunicorn import StartError, read_gunicorn_config
from penstock_gunicorn.gunicorn_config import REFUSED, TAKEN
from tests.serving import ROOT


def read(folder: Path, content: str) -> dict[str, object]:
    path = folder / "gunicorn.conf.py"
    path.write_text(content, encoding="utf-8")
    return read_gunicorn_config(str(path))


def test_settings_and_hooks_are_returned_and_other_names_left_out(tmp_path: Path) -> None:
    """The file may have variables and functions of its own."""
    settings = read(tmp_path, "import os\nLIMIT = 5\nkeepalive = LIMIT\ndef when_ready(server): pass\n")
    assert sorted(settings) == ["keepalive", "when_ready"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("workers = 4", "the setting workers is not taken: use --http-workers"),
        ("bind = []", "the setting bind is not taken: use --bind"),
        ("dirty_workers = 1", "the setting dirty_workers is not taken: the server has no use for it"),
        ("keepalive = 'long'", "the setting keepalive is wrong"),
        ("def when_ready(): pass", "the setting when_ready is wrong"),
        ("keepalive =", "SyntaxError"),
        ("raise SystemExit(0)", "SystemExit"),
    ],
)
def test_anything_else_is_refused_with_the_reason(tmp_path: Path, content: str, reason: str) -> None:
    """The message names the file, the setting and the way to get the same."""
    with pytest.raises(StartError, match=reason) as caught:
        read(tmp_path, content)
    assert str(caught.value).startswith(str(tmp_path))
    with pytest.raises(StartError, match="No such file"):
        read_gunicorn_config(str(tmp_path / "none.py"))


def test_a_misspelt_name_is_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A server that ignores it would surprise its operator."""
    with caplog.at_level(logging.WARNING):
        assert read(tmp_path, "keep_alive = 5") == {}
    assert "did you mean keepalive?" in caplog.text


def test_the_documentation_lists_all_settings() -> None:
    """The page has those that a file may have, and no other."""
    page = (ROOT / "docs" / "how-to" / "addresses.md").read_text(encoding="utf-8")
    section = page.partition("## Settings of gunicorn")[2].partition("\n## ")[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    assert sorted(name for row in rows for name in re.findall("`(\\w+)`", row)) == sorted(TAKEN)


def test_every_reason_is_for_a_setting_of_gunicorn() -> None:
    """The tables have no misspelling, and no setting in both."""
    assert set(Config().settings) >= TAKEN | set(REFUSED)
    assert not TAKEN & set(REFUSED)
