"""``penstock keys``: creating, listing and revoking keys."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from penstock.app import App
from penstock.errors import Unauthorized
from penstock.hooks import Submission
from penstock.hooks.registry import Registry
from penstock_auth import AuthPlugin, AuthSettings, keyfile
from penstock_auth.api_keys import digest_of
from penstock_auth.key_commands import keys
from penstock_auth.keyfile import records_in


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys"


def run(file: Path, *words: str, code: int = 0) -> Result:
    result = CliRunner().invoke(keys, [*words, "--file", str(file)])
    assert result.exit_code == code, result.output
    return result


def ids(file: Path) -> list[str]:
    return [record.id for record in records_in(file.read_bytes())]


def principal_of(file: Path, key: str) -> Any:
    app = App("tests")

    @app.endpoint("/square")
    def square(input: float) -> float:
        return input**2

    decide = AuthPlugin(AuthSettings(keys_file=str(file))).penstock_authenticator(app.endpoints[0])
    assert decide is not None
    return decide(Submission(app.endpoints[0], header={"x-api-key": key}.get))


def test_the_command_is_offered_by_a_hook() -> None:
    """``penstock`` finds the command as it finds any plug-in's, even before the key file exists."""
    registry = Registry([AuthPlugin(AuthSettings(keys_file="not-there"))])
    assert [command.name for command in registry.cli_commands()] == ["keys"]


def test_new_prints_the_key_alone_and_stores_its_digest(file: Path) -> None:
    """Stdout is for ``$(...)``; text for people goes to stderr; the key appears nowhere else."""
    result = run(file, "new", "alice", "--scope", "math", "--scope", "read", "--scope", "math")
    [key] = result.stdout.splitlines()
    assert re.fullmatch(r"penstock_[\w-]{43}", key)
    assert key not in result.stderr
    assert "alice" in result.stderr
    assert key not in file.read_text()
    [record] = records_in(file.read_bytes())
    assert (record.principal, record.scopes, record.expires) == ("alice", ("math", "read"), None)
    assert record.sha256 == digest_of(key).hex()
    assert record.id in result.stderr
    principal = principal_of(file, key)
    assert (principal.name, principal.scopes) == ("alice", {"math", "read"})


def test_a_new_file_is_the_owners_alone(file: Path) -> None:
    """The mode is 0600, whatever the umask."""
    before = os.umask(0)
    try:
        run(file, "new", "alice")
    finally:
        os.umask(before)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_file_keeps_its_mode_its_comments_and_what_a_link_is(file: Path) -> None:
    """The server may read the file as another user, or through a link."""
    file.write_text("# our keys")
    file.chmod(0o640)
    link = file.with_name("link")
    link.symlink_to(file)
    run(link, "new", "alice")
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert link.is_symlink()
    assert file.read_text().splitlines()[0] == "# our keys"
    assert len(ids(file)) == 1
    assert sorted(path.name for path in file.parent.iterdir()) == ["keys", "link"]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90d", 90 * 86400), ("12h", 12 * 3600), ("30m", 1800), ("2w", 14 * 86400), ("10s", 10)],
)
def test_expiry_is_a_duration(file: Path, text: str, seconds: int) -> None:
    """The duration counts from now."""
    result = run(file, "new", "alice", "--expires", text)
    [record] = records_in(file.read_bytes())
    assert record.expires is not None
    assert record.created is not None
    assert abs(record.expires - record.created - timedelta(seconds=seconds)) < timedelta(seconds=10)
    assert "valid until" in result.stderr


def test_expiry_is_a_day(file: Path) -> None:
    """Or an instant in ISO 8601; without a time zone it is UTC."""
    run(file, "new", "alice", "--expires", "2999-01-31")
    run(file, "new", "alice", "--expires", "2999-01-31T12:00:00+02:00")
    expected = [datetime(2999, 1, 31, tzinfo=UTC), datetime(2999, 1, 31, 10, tzinfo=UTC)]
    assert [record.expires for record in records_in(file.read_bytes())] == expected


@pytest.mark.parametrize("text", ["soon", "0d", "-1d", "90", "2020-01-01", "999999w", "", "1y"])
def test_an_expiry_that_is_none_is_refused(file: Path, text: str) -> None:
    """Nothing is written."""
    assert "neither a duration" in (told := run(file, "new", "alice", f"--expires={text}", code=2).stderr) or (
        "not in the future" in told
    )
    assert not file.exists()


@pytest.mark.parametrize("name", ["", "a\nb", " a", "\x1b[1m", "x" * 256])
def test_a_name_that_could_forge_a_line_is_refused(file: Path, name: str) -> None:
    """It is refused before anything is written."""
    assert "a principal's name" in run(file, "new", "--", name, code=2).stderr.replace("\n", " ").replace("│ ", "")
    assert not file.exists()


def test_a_scope_with_blanks_is_refused(file: Path) -> None:
    """Scopes are written into headers."""
    run(file, "new", "alice", "--scope", "two words", code=2)
    assert not file.exists()


def test_list_shows_everything_but_keys_and_digests(file: Path) -> None:
    """ID, principal, scopes, created, expires and state."""
    made = [run(file, "new", "alice", "--scope", "math", "--expires", "2999-01-31").stdout.strip() for _ in range(2)]
    run(file, "revoke", ids(file)[1])
    shown = run(file, "list").stdout
    heading, first, second = shown.splitlines()
    assert heading.split() == ["ID", "PRINCIPAL", "SCOPES", "CREATED", "EXPIRES", "STATE"]
    assert first.split()[:3] == [ids(file)[0], "alice", "math"]
    assert "2999-01-31 00:00Z" in first
    assert (first.split()[-1], second.split()[-1]) == ("active", "revoked")
    for key in made:
        assert key not in shown
        assert digest_of(key).hex() not in shown


def test_list_shows_what_has_expired(file: Path) -> None:
    """An expired key is not listed as active."""
    line = {"id": "k1", "principal": "alice", "sha256": "0" * 64, "expires": "2020-01-01T00:00:00Z"}
    file.write_text(json.dumps(line))
    assert run(file, "list").stdout.splitlines()[1].split()[-1] == "expired"


def test_revoke_lets_nobody_in_and_touches_nothing_else(file: Path) -> None:
    """The other lines stay the same, byte for byte."""
    file.write_text("# ours\n\n")
    keys_made = [run(file, "new", name).stdout.strip() for name in ("alice", "bob")]
    before = file.read_text().splitlines()
    told = run(file, "revoke", ids(file)[0]).stderr
    after = file.read_text().splitlines()
    assert "alice is revoked" in told
    assert [a == b for a, b in zip(before, after, strict=True)] == [True, True, False, True]
    assert principal_of(file, keys_made[1]).name == "bob"
    with pytest.raises(Unauthorized):
        principal_of(file, keys_made[0])


def test_revoking_twice_keeps_the_first_time(file: Path) -> None:
    """The time shows when the key stopped being valid."""
    line = {"id": "k1", "principal": "alice", "sha256": "0" * 64, "revoked": "2020-01-01T00:00:00Z"}
    file.write_text(json.dumps(line))
    run(file, "revoke", "k1")
    assert records_in(file.read_bytes())[0].revoked == datetime(2020, 1, 1, tzinfo=UTC)


def test_an_unknown_id_is_refused_with_the_near_miss(file: Path) -> None:
    """After ``revoke`` the operator believes that the key is no longer valid."""
    run(file, "new", "alice")
    [known] = ids(file)
    assert f"did you mean {known}?" in run(file, "revoke", known[:-1], code=1).stderr
    assert f"there are: {known}" in run(file, "revoke", "?", code=1).stderr


@pytest.mark.parametrize("words", [["new", "alice"], ["list"], ["revoke", "k1"]])
def test_a_broken_file_is_named_and_left_alone(file: Path, words: list[str]) -> None:
    """The error names the line; nothing is lost."""
    file.write_text('{"id": ')
    told = run(file, *words, code=1).stderr
    assert "line 1 is not a key" in told.replace("\n", " ")
    assert file.read_text() == '{"id": '


@pytest.mark.parametrize("words", [["list"], ["revoke", "k1"]])
def test_a_missing_file_is_named(file: Path, words: list[str]) -> None:
    """Only ``new`` creates a file."""
    assert "No such file" in run(file, *words, code=1).stderr.replace("\n", " ")


def test_a_missing_folder_is_no_traceback(tmp_path: Path) -> None:
    """The error is a message, even from ``new``."""
    assert "No such file" in run(tmp_path / "folder" / "keys", "new", "alice", code=1).stderr.replace("\n", " ")


def test_the_file_is_the_servers_by_default(file: Path) -> None:
    """The server's variable also configures the command; without it, the error names both."""
    environment = {"PENSTOCK_AUTH_KEYS_FILE": str(file)}
    assert CliRunner().invoke(keys, ["new", "alice"], env=environment).exit_code == 0
    assert len(ids(file)) == 1
    result = CliRunner().invoke(keys, ["new", "alice"], env={"PENSTOCK_AUTH_KEYS_FILE": None})
    assert result.exit_code == 2
    assert "PENSTOCK_AUTH_KEYS_FILE" in result.output


def test_a_failed_write_leaves_the_old_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No temporary file stays behind."""
    run(file, "new", "alice")
    before = file.read_bytes()

    def fail(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(keyfile.os, "fsync", fail)
    assert "No space left" in run(file, "new", "bob", code=1).stderr.replace("\n", " ")
    assert file.read_bytes() == before
    assert [path.name for path in file.parent.iterdir()] == ["keys"]


def test_writers_do_not_lose_each_others_keys(file: Path) -> None:
    """With several processes at once, each key that was printed is in the file."""
    program = "import sys\nfrom penstock_auth.key_commands import keys\nfor _ in range(10):\n    "
    program += "keys(['new', 'alice', '--file', sys.argv[1]], standalone_mode=False)"
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(file)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    printed = [key for writer in writers for key in writer.communicate(timeout=60)[0].split()]
    assert len(printed) == 30
    assert {record.sha256 for record in records_in(file.read_bytes())} == {digest_of(key).hex() for key in printed}
