"""The options of ``penstock serve`` about sockets, TLS and gunicorn, with real servers."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.certificates import client_context, write_certificate
from tests.serving import HOST, ROOT, WAYS, Served, free_port, wait_until, write_app

pytestmark = pytest.mark.e2e

APP = """
    import time

    from penstock import App

    app = App(__name__)

    @app.endpoint("/square")
    def square(input: float) -> float:
        return input**2

    @app.endpoint("/wait")
    def wait() -> None:
        time.sleep(30)

    @app.endpoint("/size")
    def size(body: bytes) -> int:
        return len(body)
"""


class Bound(Served):
    """A server that is started with other addresses than a host and a port, and is ready when its pools are."""

    def __init__(self, folder: Path, *options: str, **more: Any) -> None:
        super().__init__(write_app(folder, APP), *options, "--log-format", "json", ready_timeout=None, **more)
        del self.command[5:9]  # --host and --port

    def wait_for_pools(self) -> Bound:
        wait_until(lambda: self.process.poll() is not None or self.events("pool-ready"), "the pool", timeout=30)
        return self

    def urls(self) -> list[str]:
        return [event["url"] for event in self.events("listening")]


class UnixConnection(http.client.HTTPConnection):
    """An HTTP connection over a Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=20)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(20)
        self.sock.connect(self.path)


def squared(connection: http.client.HTTPConnection, value: float, **headers: str) -> Any:
    connection.request("POST", "/square", json.dumps({"input": value}), {"Content-Type": "application/json", **headers})
    return json.loads(connection.getresponse().read())


def squared_once(connection: http.client.HTTPConnection, value: float) -> Any:
    with contextlib.closing(connection):
        return squared(connection, value)


# ---- addresses


def test_a_server_listens_on_several_addresses_and_leaves_no_file(tmp_path: Path) -> None:
    """Each has its event and answers, both ways through the server; at the end the file is gone."""
    path, name = tmp_path / "x.sock", f"@penstock-{os.getpid()}"
    options = ("--bind", f"{HOST}:0", "--bind", f"unix:{path}", "--bind", f"unix:{name}", "--socket-mode", "600")
    with Bound(tmp_path, *options) as served:
        served.wait_for_pools()
        tcp, *others = served.urls()
        assert others == [f"unix:{path}", f"unix:{name}"]
        connections = [
            http.client.HTTPConnection(tcp.removeprefix("http://"), timeout=20),
            UnixConnection(str(path)),
            UnixConnection(f"\0{name[1:]}"),
        ]
        for connection in connections:
            assert [squared(connection, 3.0, **headers) for headers in WAYS.values()] == [9.0, 9.0]
            connection.close()
        assert path.stat().st_mode & 0o777 == 0o600
        assert served.stop() == 0
        assert not path.exists()
        assert served.survivors() == []


def test_a_stop_loses_no_request_of_a_unix_socket(tmp_path: Path) -> None:
    """A client that gets a connection gets an answer; later ones find no file."""
    path = tmp_path / "x.sock"
    outcomes: Counter[str] = Counter()
    with Bound(tmp_path, "--bind", f"unix:{path}") as served:
        served.wait_for_pools()
        clients = [threading.Thread(target=_flood, args=(str(path), outcomes)) for _ in range(4)]
        for client in clients:
            client.start()
        wait_until(lambda: outcomes["200"] >= 50, "some answers")
        assert served.stop() == 0
        for client in clients:
            client.join(10)
    assert set(outcomes) <= {"200", "503", "refused"}, outcomes


def _flood(path: str, outcomes: Counter[str]) -> None:
    """Send requests, each on a connection of its own, until there is none to be had."""
    while not outcomes["refused"]:
        with contextlib.closing(UnixConnection(path)) as connection:
            try:
                connection.connect()
            except (FileNotFoundError, ConnectionRefusedError):
                outcomes["refused"] += 1
                return
            try:
                connection.request("POST", "/square", b'{"input": 3}', {"Content-Type": "application/json"})
                outcomes[str(connection.getresponse().status)] += 1
            except (OSError, http.client.HTTPException) as error:
                outcomes[repr(error)] += 1


def test_a_shared_engine_does_not_hold_the_listening_sockets(tmp_path: Path) -> None:
    """Only the master and the HTTP processes have them: what they have closed is closed for clients."""
    path = tmp_path / "x.sock"
    options = ("--bind", f"{HOST}:0", "--bind", f"unix:{path}", "--http-workers", "2")
    with Bound(tmp_path, *options) as served:
        wait_until(lambda: len(served.events("listening")) == 4, "both HTTP processes", timeout=30)
        served.wait_for_pools()
        port = int(served.urls()[0].rpartition(":")[2])
        holders = {pid for pid in served.survivors() if _listening_inodes(port) & _sockets_of(pid)}
        http = {event["pid"] for event in served.events("listening")}
        assert holders == {served.process.pid, *http}
        assert squared_once(UnixConnection(str(path)), 3.0) == 9.0
        assert served.stop() == 0
    assert not path.exists()


def _listening_inodes(port: int) -> set[str]:
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {words[9] for words in lines if words[3] == "0A" and words[1].endswith(f":{port:04X}")}


def _sockets_of(pid: int) -> set[str]:
    links = []
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            links.append(str(entry.readlink()))
    return {link[8:-1] for link in links if link.startswith("socket:[")}


def test_a_server_that_was_killed_leaves_a_file_that_the_next_one_replaces(tmp_path: Path) -> None:
    """A stale file needs no help; one of a live server is an error with exit code 2."""
    path = tmp_path / "x.sock"
    with Bound(tmp_path, "--bind", f"unix:{path}") as first:
        first.wait_for_pools()
        with Bound(tmp_path, "--bind", f"unix:{path}") as second:
            assert second.wait() == 2
            assert "another server listens on it" in second.events("cannot-listen")[0]["message"]
        os.kill(first.process.pid, signal.SIGKILL)
        wait_until(lambda: first.survivors() == [], "the end of the orphans")
        assert path.is_socket()
    with Bound(tmp_path, "--bind", f"unix:{path}") as third:
        third.wait_for_pools()
        assert third.stop() == 0
    assert not path.exists()


def test_sighup_and_sigusr2_keep_the_file_of_a_socket(tmp_path: Path) -> None:
    """Old processes that end do not take the file from those that replace them; the last one removes it."""
    path = tmp_path / "x.sock"
    with Bound(tmp_path, "--bind", f"unix:{path}") as served:
        served.wait_for_pools()
        served.process.send_signal(signal.SIGHUP)
        wait_until(lambda: len(served.urls()) == 2, "the second HTTP process", timeout=20)
        wait_until(lambda: len(served.events("shutdown")) == 1, "the end of the first", timeout=20)
        assert squared_once(UnixConnection(str(path)), 2.0) == 4.0
        served.process.send_signal(signal.SIGUSR2)
        wait_until(lambda: len(served.urls()) == 3, "the second master", timeout=20)
        assert served.stop() == 0
        assert squared_once(UnixConnection(str(path)), 3.0) == 9.0
        second = int(served.events("listening")[2]["pid"])
        os.kill(_parent_of(second), signal.SIGTERM)
        wait_until(lambda: served.survivors() == [], "the end of the second master", timeout=20)
    assert not path.exists()


def _parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[1])


ACTIVATE = """
import os, sys
count = int(sys.argv[1])
descriptors = [int(number) for number in sys.argv[2 : 2 + count]]
for place, number in enumerate(descriptors):
    os.dup2(number, 100 + place)
for place in range(count):
    os.dup2(100 + place, 3 + place)
    os.close(100 + place)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(count)}
os.execv(sys.executable, [sys.executable, *sys.argv[2 + count :]])
"""


def test_sockets_of_systemd_are_served_and_left_alone(tmp_path: Path) -> None:
    """All of them, whatever the options say, also by a new master; the file of a Unix socket is systemd's."""
    path = tmp_path / "x.sock"
    with socket.create_server((HOST, 0)) as tcp, socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(path))
        unix.listen()
        numbers = [str(tcp.fileno()), str(unix.fileno())]
        served = Bound(tmp_path)
        served.command = [sys.executable, "-c", ACTIVATE, "2", *numbers, *served.command[1:]]
        with passed_on(tcp, unix), served:
            served.wait_for_pools()
            assert served.urls() == [f"http://{HOST}:{tcp.getsockname()[1]}", f"unix:{path}"]
            assert squared_once(UnixConnection(str(path)), 3.0) == 9.0
            assert squared_once(http.client.HTTPConnection(*tcp.getsockname(), timeout=20), 4.0) == 16.0
            served.process.send_signal(signal.SIGUSR2)
            wait_until(lambda: len(served.urls()) == 4, "the new master", timeout=20)
            assert served.stop() == 0
            assert squared_once(UnixConnection(str(path)), 5.0) == 25.0
            second = int(served.events("listening")[3]["pid"])
            os.kill(_parent_of(second), signal.SIGTERM)
            wait_until(lambda: served.survivors() == [], "the end of the new master", timeout=20)
        assert path.is_socket()


def test_an_inherited_descriptor_is_served(tmp_path: Path) -> None:
    """The program that starts the server may open the socket, and says which descriptor it is."""
    with socket.create_server((HOST, 0)) as tcp:
        options = ("--bind", f"fd://{tcp.fileno()}")
        with passed_on(tcp), Bound(tmp_path, *options) as served:
            served.wait_for_pools()
            assert served.urls() == [f"http://{HOST}:{tcp.getsockname()[1]}"]
            assert squared_once(http.client.HTTPConnection(*tcp.getsockname(), timeout=20), 4.0) == 16.0


@contextlib.contextmanager
def passed_on(*sockets: socket.socket) -> Iterator[None]:
    """Have ``subprocess.Popen``, as ``Served`` calls it, keep these descriptors open."""
    original = subprocess.Popen.__init__

    def init(self: Any, *args: Any, **more: Any) -> None:
        original(self, *args, **more, pass_fds=[sock.fileno() for sock in sockets])

    subprocess.Popen.__init__ = init  # type: ignore[method-assign]
    try:
        yield
    finally:
        subprocess.Popen.__init__ = original  # type: ignore[method-assign]


def test_systemd_is_notified_of_each_step(tmp_path: Path) -> None:
    """Ready when the pools are, and signs of life meanwhile; a failed reload ends as well; all from the master."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "notify"))
        receiver.settimeout(20)
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        senders = set()

        def next_message() -> list[str]:
            while True:
                data, ancillary, _, _ = receiver.recvmsg(10_000, 1000)
                senders.add(struct.unpack("3i", ancillary[0][2])[0])
                if data != b"WATCHDOG=1":
                    return data.decode().split("\n")

        environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "500000"}
        app = write_app(tmp_path, APP)
        with Served(app, "--log-format", "json", environment=environment, ready_timeout=None) as served:
            assert next_message()[0].startswith("STATUS=loading")
            assert next_message() == ["READY=1", "STATUS=ready"]
            assert served.get("/readyz").status == 200
            for content, status in ((APP, "STATUS=ready"), ("1 /", "STATUS=ready; the latest reload failed: Synt")):
                write_app(tmp_path, content)
                served.process.send_signal(signal.SIGHUP)
                assert next_message()[0] == "RELOADING=1"
                first, second = next_message()
                assert first == "READY=1"
                assert second.startswith(status)
            assert receiver.recv(100) == b"WATCHDOG=1"
            served.process.send_signal(signal.SIGTERM)
            assert next_message()[:2] == ["STOPPING=1", "EXTEND_TIMEOUT_USEC=35000000"]
            assert served.wait() == 0
            assert senders == {served.process.pid}


def test_a_proxy_at_a_unix_socket_can_be_trusted(tmp_path: Path) -> None:
    """Its peer has no address, so that it is named "unix"."""
    path = tmp_path / "x.sock"
    environment = {"PENSTOCK_ACCESSLOG_ENABLED": "true"}
    options = ("--bind", f"unix:{path}", "--trusted-proxy", "unix")
    with Bound(tmp_path, *options, environment=environment) as served:
        served.wait_for_pools()
        connection = UnixConnection(str(path))
        for headers in WAYS.values():
            squared(connection, 1.0, **headers, **{"X-Forwarded-For": "192.0.2.7"})
        connection.close()
        wait_until(lambda: served.output().count("192.0.2.7") == 2, "two lines of the access log")


# ---- TLS


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    return write_certificate(tmp_path)


def https(served: Served, *trusted: Path) -> http.client.HTTPSConnection:
    return http.client.HTTPSConnection(HOST, served.port, timeout=20, context=client_context(*trusted))


class Encrypted(Served):
    """A server with a certificate, whose readiness is asked for in clear text nowhere."""

    def __init__(self, folder: Path, certificate: tuple[Path, Path], *options: str, **more: Any) -> None:
        files = ("--certfile", str(certificate[0]), "--keyfile", str(certificate[1]))
        super().__init__(write_app(folder, APP), *files, *options, "--log-format", "json", ready_timeout=None, **more)

    def wait_for_pools(self, count: int = 1) -> None:
        wait_until(lambda: len(self.events("pool-ready")) == count, "the pool", timeout=30)


@pytest.mark.parametrize("loop", ["auto", "asyncio"])
def test_https_is_served_both_ways(tmp_path: Path, certificate: tuple[Path, Path], loop: str) -> None:
    """Small and large requests over one connection, HTTP/1.1 by ALPN, TLS 1.2 at least; the URL says https."""
    (tmp_path / "conf.py").write_text(f"asgi_loop = {loop!r}", encoding="utf-8")
    with Encrypted(tmp_path, certificate, "--gunicorn-config", str(tmp_path / "conf.py")) as served:
        served.wait_for_pools()
        assert served.events("listening")[0]["url"] == f"https://{HOST}:{served.port}"
        connection = https(served, certificate[0])
        assert [squared(connection, 3.0, **headers) for headers in WAYS.values()] == [9.0, 9.0]
        connection.request("POST", "/size", bytes(5_000_000), {"Content-Type": "application/octet-stream"})
        assert json.loads(connection.getresponse().read()) == 5_000_000
        connection.close()
        context = client_context(certificate[0])
        context.set_alpn_protocols(["h2", "http/1.1"])
        with context.wrap_socket(served.connect(), server_hostname=HOST) as client:
            assert (client.selected_alpn_protocol(), client.version()) == ("http/1.1", "TLSv1.3")
        _refusals_arrive(served, certificate[0])
        _a_hang_up_is_noticed(served, certificate[0])
        idle = https(served, certificate[0])
        assert squared(idle, 3.0) == 9.0
        began = time.monotonic()
        assert served.stop() == 0
        assert time.monotonic() - began < 5.0
        idle.close()
        assert [event for event in served.events() if event["level"] in {"error", "critical"}] == []


def _refusals_arrive(served: Served, certificate: Path) -> None:
    """TLS cannot be half-closed, so the connection stays open for a client that is still sending."""
    with client_context(certificate).wrap_socket(served.connect(), server_hostname=HOST) as client:
        client.sendall(b"POST /size HTTP/1.1\r\nHost: x\r\nContent-Type: application/octet-stream\r\n")
        client.sendall(b"Content-Length: 40000000\r\n\r\n" + bytes(2_000_000))
        assert client.recv(1000).startswith(b"HTTP/1.1 413 ")
    with client_context(certificate).wrap_socket(served.connect(), server_hostname=HOST) as client:
        client.sendall(b"NONSENSE\r\n\r\n")
        assert client.recv(1000).startswith(b"HTTP/1.1 400 ")


def _a_hang_up_is_noticed(served: Served, certificate: Path) -> None:
    """The handler of a client that has gone is stopped, as it is without TLS."""
    head = b"POST /wait HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n"
    with contextlib.closing(https(served, certificate)) as status:
        with client_context(certificate).wrap_socket(served.connect(), server_hostname=HOST) as client:
            client.sendall(head + b"{}")
            wait_until(lambda: _running(status) == 1, "the job's start")
        wait_until(lambda: _running(status) == 0, "the job's end", timeout=5.0)


def _running(connection: http.client.HTTPConnection) -> int:
    connection.request("GET", "/-/status")
    document = json.loads(connection.getresponse().read())
    return sum(endpoint["running"] for endpoint in document["endpoints"].values())


def test_old_tls_and_clear_text_are_refused(tmp_path: Path, certificate: tuple[Path, Path]) -> None:
    """The connection ends, without a line in the log that clients could cause at will; the server goes on."""
    with Encrypted(tmp_path, certificate) as served:
        served.wait_for_pools()
        with served.connect() as client:
            client.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
            with contextlib.suppress(ConnectionResetError):
                assert not client.recv(100).startswith(b"HTTP")
        old = client_context(certificate[0])
        with pytest.warns(DeprecationWarning, match="TLSv1_1"):
            old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
        with served.connect() as client, pytest.raises((ssl.SSLError, OSError)):
            old.wrap_socket(client, server_hostname=HOST)
        assert squared_once(https(served, certificate[0]), 3.0) == 9.0
        assert [event for event in served.events() if event["level"] in {"warning", "error", "critical"}] == []


def test_a_stranger_who_does_not_begin_tls_loses_the_connection(tmp_path: Path, certificate: tuple[Path, Path]) -> None:
    """The handshake has the time of a request's head."""
    with Encrypted(tmp_path, certificate, "--header-timeout", "0.2") as served:
        served.wait_for_pools()
        with served.connect(timeout=5) as client:
            assert client.recv(1) == b""


def test_sighup_reads_the_certificate_again(tmp_path: Path, certificate: tuple[Path, Path]) -> None:
    """New connections get the new certificate; one that cannot be used changes nothing."""
    with Encrypted(tmp_path, certificate) as served:
        served.wait_for_pools()
        assert squared_once(https(served, certificate[0]), 3.0) == 9.0
        write_certificate(tmp_path)
        served.process.send_signal(signal.SIGHUP)
        served.wait_for_pools(2)
        wait_until(lambda: _is_trusted(served, certificate[0]), "the new certificate")
        trusted = tmp_path / "trusted.pem"
        certificate[0].rename(trusted)
        served.process.send_signal(signal.SIGHUP)
        event = wait_until(lambda: served.events("reload-failed"), "the refusal", timeout=20)[0]
        assert "server.pem cannot be read" in event["message"]
        assert _is_trusted(served, trusted)
        assert served.stop() == 0


def _is_trusted(served: Served, path: Path) -> bool:
    try:
        return squared_once(https(served, path), 2.0) == 4.0
    except ssl.SSLCertVerificationError:
        return False


# ---- the root path


def test_a_root_path_is_removed_from_paths_that_have_it(tmp_path: Path) -> None:
    """So it does not matter whether the proxy removes the prefix; both ways through the server agree."""
    with Served(write_app(tmp_path, APP), "--root-path", "/models/") as served:
        for headers in WAYS.values():
            for path in ("/square", "/models/square"):
                assert served.post_json(path, {"input": 3}, headers=headers).json() == 9.0
        assert served.get("/models/readyz").status == 200
        assert served.post_json("/other/square", {"input": 3}).status == 404
        # A client could choose this one.
        assert served.post_json("/other/square", {"input": 3}, headers={"X-Forwarded-Prefix": "/other"}).status == 404


# ---- the settings of gunicorn


CONFIG = """
import pathlib

keepalive = 1
limit_request_line = 100

def when_ready(server):
    pathlib.Path("hooks").write_text("when_ready ")

def pre_request(worker, req):
    with open("hooks", "a") as file:
        file.write(req.path)

def on_exit(server):
    with open("hooks", "a") as file:
        file.write(" on_exit")
"""


def test_a_file_of_gunicorn_settings_is_used(tmp_path: Path) -> None:
    """Limits hold, and hooks run: those of requests too, although small requests do not pass through gunicorn."""
    (tmp_path / "gunicorn.conf.py").write_text(CONFIG, encoding="utf-8")
    options = ("--gunicorn-config", "gunicorn.conf.py")
    with Served(write_app(tmp_path, APP), *options, folder=tmp_path, ready_timeout=None) as served:
        served.wait_for_line("pool-ready", timeout=30)
        assert served.post_json("/square", {"input": 3}).json() == 9.0
        assert served.get("/" + "x" * 200).status == 414
        assert served.stop() == 0
    assert (tmp_path / "hooks").read_text() == "when_ready /square on_exit"


# ---- bad input


def ended(tmp_path: Path, *options: str) -> str:
    """Return the output of a server that does not start, which leaves nothing behind."""
    before = sorted(tmp_path.rglob("*"))
    command = [sys.executable, "-m", "penstock_cli", "serve", str(ROOT / "examples" / "filetype.py"), *options]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False)
    assert result.returncode == 2, result.stderr
    assert sorted(tmp_path.rglob("*")) == before
    assert "penstock_" not in result.stderr
    return result.stderr


def test_a_certificate_of_another_key_is_refused(tmp_path: Path) -> None:
    """Exit code 2 and one line, and the Unix socket is removed."""
    certificate, _ = map(str, write_certificate(tmp_path))
    _, other = map(str, write_certificate(tmp_path, "other"))
    text = ended(tmp_path, "--bind", "unix:x.sock", "--certfile", certificate, "--keyfile", other)
    assert f"the key in {other} does not belong to the certificate in {certificate}" in text
    assert text.count("\n") == 1


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("workers = 4", "the setting workers is not taken: use --http-workers"),
        ("def on_starting(server): raise OSError('no disk')", "OSError: no disk"),
        ("import ssl; cert_reqs = ssl.CERT_REQUIRED", "the setting cert_reqs needs --certfile"),
    ],
)
def test_settings_of_gunicorn_that_cannot_be_used_are_refused(tmp_path: Path, content: str, reason: str) -> None:
    """Exit code 2 and the reason; nothing is left of the socket."""
    (tmp_path / "conf.py").write_text(content, encoding="utf-8")
    assert reason in ended(tmp_path, "--bind", "unix:x.sock", "--gunicorn-config", "conf.py")


def test_a_port_of_another_server_and_a_folder_that_is_not_there(tmp_path: Path) -> None:
    """The message names the address and the reason."""
    with socket.create_server((HOST, free_port())) as taken:
        text = ended(tmp_path, "--bind", "unix:x.sock", "--bind", f"{HOST}:{taken.getsockname()[1]}")
    assert "Address already in use; choose another address with --bind" in text
    assert "No such file or directory" in ended(tmp_path, "--bind", "unix:nowhere/x.sock")
