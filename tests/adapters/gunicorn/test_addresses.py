"""The addresses to listen on: their forms, the files of Unix sockets, and what is left behind (nothing)."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest

from penstock_gunicorn import ListenSettings, StartError, TcpAddress, inherited_listeners, open_listeners
from penstock_gunicorn.addresses import DescriptorAddress, UnixAddress, parse_address, parse_addresses
from tests.serving import HOST


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:8000", TcpAddress("127.0.0.1", 8000)),
        ("localhost:0", TcpAddress("localhost", 0)),
        ("[::1]:80", TcpAddress("::1", 80)),
        ("unix:/run/x.sock", UnixAddress("/run/x.sock")),
        ("unix:x.sock", UnixAddress(str(Path("x.sock").absolute()))),
        ("unix:@name", UnixAddress("@name")),
        ("fd://3", DescriptorAddress(3)),
    ],
)
def test_each_form_names_an_address(text: str, address: object) -> None:
    """Hosts and ports, paths, abstract names and descriptors."""
    assert parse_address(text) == address


@pytest.mark.parametrize(
    "text",
    [
        "",
        "8000",
        ":8000",
        "::1:80",
        "host",
        "host:",
        "http://x:1",
        "unix:",
        "unix:@",
        "unix:/run/",
        "fd://x",
        "x:65536",
    ],
)
def test_anything_else_is_refused_with_the_forms(text: str) -> None:
    """The error repeats the text and lists the forms."""
    with pytest.raises(StartError, match=r"write |at most"):
        parse_address(text)


def test_an_address_that_is_there_twice_is_refused() -> None:
    """Except for port 0, which is another port each time."""
    with pytest.raises(StartError, match="twice"):
        parse_addresses(("127.0.0.1:80", "[::1]:80", "127.0.0.1:80"))
    assert len(parse_addresses(("127.0.0.1:0", "127.0.0.1:0"))) == 2


def test_ipv4_and_ipv6_of_one_port_do_not_collide() -> None:
    """A socket on [::] would take the IPv4 connections of its port as well."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port = probe.getsockname()[1]
    listeners = open_listeners(parse_addresses((f"0.0.0.0:{port}", f"[::]:{port}")))
    assert [listener.url("http") for listener in listeners] == [f"http://0.0.0.0:{port}", f"http://[::]:{port}"]
    listeners.close()


# ---- the files of Unix sockets


def test_the_file_has_its_permissions_and_is_removed_at_the_end(tmp_path: Path) -> None:
    """By default the owner and the group may connect."""
    path = tmp_path / "x.sock"
    for settings, mode in ((None, 0o660), (ListenSettings(socket_mode=0o600), 0o600)):
        listeners = open_listeners([UnixAddress(str(path))], settings)
        assert stat.S_IMODE(path.stat().st_mode) == mode
        listeners.remove_files()
        assert list(tmp_path.iterdir()) == []


def test_the_file_of_a_dead_server_is_replaced(tmp_path: Path) -> None:
    """A file without a server has no owner."""
    path = tmp_path / "x.sock"
    open_listeners([UnixAddress(str(path))]).close()
    assert path.exists()
    open_listeners([UnixAddress(str(path))]).remove_files()
    assert not path.exists()


def test_the_file_of_a_live_server_is_left_alone(tmp_path: Path) -> None:
    """Two servers on one socket: the second one is refused, also if the backlog of the first is full."""
    path = tmp_path / "x.sock"
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
        server.bind(str(path))
        server.listen(0)
        client.connect(str(path))
        with pytest.raises(StartError, match="another server listens on it"):
            open_listeners([UnixAddress(str(path))])
        assert path.is_socket()


@pytest.mark.parametrize("kind", ["file", "folder", "link", "datagrams"])
def test_anything_but_a_stale_socket_is_left_alone(tmp_path: Path, kind: str) -> None:
    """A mistyped path must not cost a file."""
    path = tmp_path / "precious"
    if kind == "file":
        path.write_text("weights", encoding="utf-8")
    elif kind == "folder":
        path.mkdir()
    elif kind == "link":
        path.symlink_to(tmp_path / "nowhere")
    receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    if kind == "datagrams":
        receiver.bind(str(path))
    before = path.lstat()
    with receiver, pytest.raises(StartError, match=r"not a socket|wrong type"):
        open_listeners([UnixAddress(str(path))])
    assert path.lstat() == before


def test_a_path_that_is_too_long_is_refused_with_the_limit(tmp_path: Path) -> None:
    """107 bytes fit."""
    stem = str(tmp_path / "x")
    fits = stem + "y" * (107 - len(stem))
    open_listeners([UnixAddress(fits)]).remove_files()
    with pytest.raises(StartError, match="108 bytes, and Linux allows 107"):
        open_listeners([UnixAddress(fits + "y")])
    assert list(tmp_path.iterdir()) == []


def test_of_several_addresses_all_are_opened_or_none(tmp_path: Path) -> None:
    """If the last one fails, the files of the others are removed and their ports are free again."""
    with socket.create_server((HOST, 0)) as taken:
        addresses = [UnixAddress(str(tmp_path / "x.sock")), TcpAddress(HOST, taken.getsockname()[1])]
        with pytest.raises(StartError, match="already in use"):
            open_listeners(addresses)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_another_server_has_made_since_is_left_alone(tmp_path: Path) -> None:
    """Our file was removed and another server took the path: at our end it stays."""
    path = tmp_path / "x.sock"
    listeners = open_listeners([UnixAddress(str(path))])
    path.unlink()
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()
        listeners.remove_files()
        assert path.is_socket()


def test_a_file_is_withdrawn_before_its_socket_is_closed(tmp_path: Path) -> None:
    """A client that has connected is still accepted; one that comes later finds nothing. A foreign file stays."""
    path = tmp_path / "x.sock"
    listeners = open_listeners([UnixAddress(str(path))])
    with socket.socket(socket.AF_UNIX) as client, socket.socket(socket.AF_UNIX) as other:
        client.connect(str(path))
        listeners.withdraw()
        assert not path.exists()
        listeners[0].sock.accept()[0].close()
        other.bind(str(path))
        listeners.withdraw()
        assert path.is_socket()
    listeners.close()


def test_only_the_process_that_made_a_file_removes_it(tmp_path: Path) -> None:
    """A gunicorn worker, which is a fork, leaves it to the master."""
    path = tmp_path / "x.sock"
    listeners = open_listeners([UnixAddress(str(path))])
    pid = os.fork()
    if pid == 0:
        listeners.remove_files()
        os._exit(0)
    os.waitpid(pid, 0)
    assert path.is_socket()
    listeners.remove_files()


def test_an_abstract_socket_has_no_file(tmp_path: Path) -> None:
    """Its address begins with an @; it goes with its last descriptor."""
    address = UnixAddress(f"@penstock-test-{os.getpid()}")
    listeners = open_listeners([address])
    assert listeners[0].url("http") == f"unix:{address.path}"
    with pytest.raises(StartError, match="in use"):
        open_listeners([address])
    listeners.remove_files()
    open_listeners([address]).remove_files()


# ---- inherited sockets


def test_a_descriptor_must_be_a_socket_that_can_listen() -> None:
    """Not a file, nor a datagram socket, nor one without an address, nor nothing at all."""
    read_end, write_end = os.pipe()
    datagrams, unbound = socket.socket(type=socket.SOCK_DGRAM), socket.socket()
    numbers = (read_end, datagrams.detach(), unbound.detach(), 10_000)
    for number, reason in zip(numbers, ("non-socket", "another kind", "not bound", "Bad file"), strict=True):
        with pytest.raises(StartError, match=reason):
            open_listeners([DescriptorAddress(number)])
    os.close(read_end)
    os.close(write_end)


def test_a_bound_descriptor_is_made_to_listen() -> None:
    """The program that opened the socket may leave that to the server."""
    bound = socket.socket()
    bound.bind((HOST, 0))
    address = bound.getsockname()
    listeners = open_listeners([DescriptorAddress(bound.detach())])
    socket.create_connection(address).close()
    listeners.close()


def test_sockets_of_systemd_are_for_the_process_that_it_names() -> None:
    """The variables of another process are ignored and left alone; a broken number is an error."""
    environ = {"LISTEN_PID": "1", "LISTEN_FDS": "1"}
    assert inherited_listeners([], environ) is None
    assert len(environ) == 2
    with pytest.raises(StartError, match="not a number of sockets"):
        inherited_listeners([], {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "many"})


def test_files_of_a_predecessor_become_the_successors(tmp_path: Path) -> None:
    """After an upgrade in place the new master removes the file of an address that is also its own, and no other."""
    mine, foreign = tmp_path / "mine.sock", tmp_path / "foreign.sock"
    old = open_listeners([UnixAddress(str(mine)), UnixAddress(str(foreign))])
    numbers = ",".join(str(os.dup(listener.fileno())) for listener in old)
    old.close()
    environ = {"GUNICORN_FD": numbers}
    listeners = inherited_listeners([UnixAddress(str(mine))], environ)
    assert listeners is not None
    assert environ == {}
    listeners.remove_files()
    assert [path.name for path in tmp_path.iterdir()] == ["foreign.sock"]
