"""Debian's nginx in front of a server, with the project's own configuration."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from tests.serving import HOST, ROOT, Served, free_port, wait_until

CONFIGURATION = ROOT / "deploy" / "nginx" / "penstock.conf"
MAIN = """
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 128; }}
http {{
    access_log off;
    client_body_temp_path {folder}/bodies;
    proxy_temp_path {folder}/responses;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/penstock.conf;
}}
"""
NGINX = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
needs_nginx = pytest.mark.skipif(NGINX is None, reason="nginx is not installed")


class Nginx(Served):
    """nginx with ``deploy/nginx/penstock.conf``, of which only the addresses are changed.

    Parameters
    ----------
    folder:
        An empty folder for its files.
    upstreams:
        The addresses of the servers behind it: ``127.0.0.1:8000``, ``unix:/run/x.sock``.
    changes:
        Pairs of a regular expression and its replacement in the configuration: shorter times, for instance.
    """

    def __init__(self, folder: Path, upstreams: Sequence[str], *changes: tuple[str, str]) -> None:
        super().__init__("nginx", ready_timeout=None)
        servers = "\n".join(f"server {upstream} max_fails=3 fail_timeout=5s;" for upstream in upstreams)
        text = CONFIGURATION.read_text(encoding="utf-8")
        own = [(r"listen 80;", f"listen {HOST}:{self.port};"), (r"\bserver 127\.0\.0\.1:8000 [^;]*;", servers)]
        for pattern, replacement in (*own, *changes):
            text, count = re.subn(pattern, replacement, text)
            assert count, f"nothing in {CONFIGURATION} matches {pattern}"
        (folder / "penstock.conf").write_text(text, encoding="utf-8")
        (folder / "nginx.conf").write_text(MAIN.format(folder=folder), encoding="utf-8")
        self.command = [str(NGINX), "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", "stderr"]
        # nginx's own workers drop root's rights, and pytest's folders are root's alone.
        self.command += ["-g", "user root;"]

    def __enter__(self) -> Self:
        super().__enter__()
        try:
            wait_until(self._listens, "nginx to listen")
        except BaseException:
            self._clean_up(show=True)
            raise
        return self

    def _listens(self) -> bool:
        assert self.process.poll() is None, "nginx has ended"
        try:
            self.connect().close()
        except OSError:
            return False
        return True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGQUIT if kind is None else signal.SIGTERM)
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.terminate()
        super().__exit__(kind, error, trace)


def free_address() -> str:
    """Return an address of the loopback interface on which nothing listens."""
    return f"{HOST}:{free_port()}"
