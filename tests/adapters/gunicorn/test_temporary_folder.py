"""The folder of the heartbeat's file."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

import pytest

from penstock_gunicorn import temporary_folder
from penstock_gunicorn.temporary_folder import heartbeat_folder
from tests.serving import Served

READ_ONLY = """
for folder in /tmp /var/tmp /usr/tmp "$PWD"; do
    if [ -d "$folder" ]; then mount --bind "$folder" "$folder" && mount -o remount,bind,ro "$folder" || exit 99; fi
done
cd "$PWD" && exec "$@"
"""


@pytest.fixture
def nothing_writable(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> str:
        raise FileNotFoundError("No usable temporary directory found")

    monkeypatch.setattr(tempfile, "gettempdir", fail)
    monkeypatch.setattr(tempfile, "tempdir", None)


@pytest.mark.usefixtures("nothing_writable")
def test_shared_memory_replaces_the_temporary_folder() -> None:
    """If no temporary folder can be written, the heartbeat's file is in shared memory, and so is any other."""
    assert heartbeat_folder() == temporary_folder.SHARED_MEMORY
    assert tempfile.tempdir == temporary_folder.SHARED_MEMORY


@pytest.mark.usefixtures("nothing_writable")
def test_without_any_folder_one_line_says_what_to_set(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """If shared memory cannot be written either, the server ends with 3 and names the variable."""
    monkeypatch.setattr(temporary_folder, "SHARED_MEMORY", "/nowhere")
    with pytest.raises(SystemExit) as ended:
        heartbeat_folder()
    assert ended.value.code == 3
    assert ["TMPDIR" in record.getMessage() for record in caplog.records] == [True]


@pytest.mark.e2e
def test_a_server_starts_on_a_read_only_file_system() -> None:
    """With nothing writable but /dev/shm the server starts, serves, and ends with 0."""
    unshare = ["unshare", "--map-root-user", "--mount", "sh", "-c", READ_ONLY, "sh"]
    if subprocess.run([*unshare, "true"], check=False, stderr=subprocess.DEVNULL).returncode != 0:
        pytest.skip("this machine does not let a test mount anything")
    target = Path(__file__).parents[2] / "e2e" / "apps" / "peers_app.py"
    served = Served(target, environment={"TMPDIR": "/tmp", "PYTHONDONTWRITEBYTECODE": "1"})
    served.command = [*unshare, *served.command]
    with served:
        assert served.post_json("/square", {"input": 3}).json() == 9
        links = [str(link.readlink()) for link in Path(f"/proc/{served.process.pid}/fd").iterdir()]
        (folder,) = [link for link in links if "wgunicorn" in link]
        assert folder.startswith("/dev/shm/")
        assert served.stop() == 0
