"""The port proxy in this process, on loopback sockets: bytes, half-closes, resets, back-pressure, datagrams, and its control protocol."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import socket
import threading
import time
from contextlib import contextmanager

import pytest

from wherry.model.errors import Internal, Unavailable
from wherry.network import proxyclient, relay
from wherry.network.proxy import Port, Proxy, listen, read_facts
from wherry.network.proxyclient import ProxyClient
from wherry.network.sockets import open_socket

pytestmark = pytest.mark.timeout(120)
SECONDS = 30  # for what is certain to happen, on a machine that has other things to do


class Running:
    """A proxy in a thread, and a client of it."""

    def __init__(self, directory) -> None:
        self.path, self.facts = str(directory / "proxy.sock"), str(directory / "proxy.json")
        self.control = listen(self.path)
        self.proxy = Proxy(self.control, self.facts)
        self.thread = threading.Thread(target=self.proxy.run, daemon=True)  # what fails shall fail, and not wait for it for ever
        self.thread.start()
        self.client = ProxyClient(self.path, self.no_start)

    @staticmethod
    def no_start() -> None:
        raise ConnectionRefusedError(errno.ECONNREFUSED, "no proxy can be started here")

    def publish(self, protocol: str, target: tuple[str, int], container: str = "c", host_ip: str = "127.0.0.1") -> tuple[str, int]:
        with open_socket(protocol, host_ip, 0) as sock:
            name = sock.getsockname()[:2]
            self.client.add([(Port(container, protocol, host_ip, name[1], *target), sock)])
        return name

    def close(self) -> None:
        try:
            self.client.exit()
        finally:
            self.client.close()
        self.thread.join(SECONDS)
        assert not self.thread.is_alive(), "the proxy was told to exit"
        for one in list(self.proxy.relays.values()):
            one.close()
        for key in list(self.proxy.selector.get_map().values()):
            key.fileobj.close()
        self.proxy.selector.close()


@pytest.fixture
def running(tmp_path):
    made = Running(tmp_path)
    yield made
    made.close()


@contextmanager
def server(answer):
    """A TCP server on loopback that calls `answer(connection)` in a thread for each connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threads: list[threading.Thread] = []

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                connection.settimeout(SECONDS)
                threads.append(threading.Thread(target=run, args=(connection,), daemon=True))
                threads[-1].start()

        def run(connection: socket.socket) -> None:
            with connection:
                answer(connection)

        acceptor = threading.Thread(target=serve, daemon=True)
        acceptor.start()
        try:
            yield listener.getsockname()
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            acceptor.join()
            for thread in threads:
                thread.join()


def connect(where: tuple[str, int]) -> socket.socket:
    return socket.create_connection(where, SECONDS)


def read_all(sock: socket.socket) -> bytes:
    return b"".join(iter(lambda: sock.recv(1 << 16), b""))


def digest_and_echo(connection: socket.socket) -> None:
    """Reads to the end of file, then answers with what came, and its digest."""
    data = read_all(connection)
    connection.sendall(hashlib.sha256(data).digest() + data)


def test_half_close_is_passed_on_in_both_directions(running):
    data = os.urandom(3_000_000)
    with server(digest_and_echo) as target:
        where = running.publish("tcp", target)
        with connect(where) as client:
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)
            assert read_all(client) == hashlib.sha256(data).digest() + data


def test_a_server_that_closes_first_still_gets_what_the_client_sends(running):
    got = []

    def answer(connection: socket.socket) -> None:
        connection.sendall(b"bye")
        connection.shutdown(socket.SHUT_WR)
        got.append(read_all(connection))

    with server(answer) as target, connect(running.publish("tcp", target)) as client:
        assert read_all(client) == b"bye"
        client.sendall(b"still here")
    assert got == [b"still here"]


def test_a_reader_that_does_not_read_stops_the_writer(running):
    sent = threading.Event()
    amount = [0]

    def flood(connection: socket.socket) -> None:
        connection.settimeout(0.5)
        try:
            while amount[0] < 400_000_000:
                amount[0] += connection.send(bytes(1 << 16))
        except TimeoutError:
            sent.set()

    with server(flood) as target, connect(running.publish("tcp", target)) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        assert sent.wait(20), "the writer was never stopped"
        assert amount[0] < 50_000_000
        held = [half for one in running.proxy.relays.values() for pair in one.pairs for half in (pair.up, pair.down)]
        assert sum(len(half.chunk) for half in held) <= relay.CHUNK


def test_a_reset_is_passed_on(running):
    with server(lambda connection: connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, relay._RESET)) as target:
        where = running.publish("tcp", target)
        with pytest.raises(ConnectionResetError), connect(where) as client:  # the reset may come before connect() has looked
            client.recv(1)


def test_a_container_that_does_not_listen_resets_the_client(running):
    with socket.socket() as bound:  # and nobody else gets this port
        bound.bind(("127.0.0.1", 0))
        where = running.publish("tcp", bound.getsockname())
        with pytest.raises(ConnectionError), connect(where) as client:
            assert client.recv(1) != b""


def test_many_connections_leave_nothing(running):
    with server(digest_and_echo) as target:
        where = running.publish("tcp", target)
        for _ in range(200):
            with connect(where) as client:
                client.sendall(b"x")
                client.shutdown(socket.SHUT_WR)
                assert len(read_all(client)) == 33
        pairs = running.proxy.relays["tcp", *where].pairs
        wait_until(lambda: not pairs)


def test_out_of_descriptors_is_a_pause_not_a_loop(running, monkeypatch):
    monkeypatch.setattr(relay, "PAUSE", 0.2)
    with server(digest_and_echo) as target:
        where = running.publish("tcp", target)
        one = running.proxy.relays["tcp", *where]
        calls = [0]
        real = one.sock

        class Full:
            """The listening socket, with every descriptor in use for the first three times."""

            def fileno(self) -> int:
                return real.fileno()

            def accept(self):
                calls[0] += 1
                if calls[0] <= 3:
                    raise OSError(errno.EMFILE, "full")
                return real.accept()

            def close(self) -> None:
                real.close()

        one.sock = Full()
        started = time.monotonic()
        with connect(where) as client:
            client.shutdown(socket.SHUT_WR)
            assert len(read_all(client)) == 32
        assert time.monotonic() - started > 0.5, "three pauses"
        assert calls[0] <= 6, "each pause asks once"


def wait_until(probe) -> None:
    """Until what another thread does is done."""
    end = time.monotonic() + SECONDS
    while not probe():
        assert time.monotonic() < end, "it does not happen"
        time.sleep(0.01)


def udp_echo() -> tuple[socket.socket, threading.Thread]:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            data, peer = sock.recvfrom(65535)
            if data == b"stop":
                return
            sock.sendto(data + b" from %d" % peer[1], peer)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    return sock, thread


@pytest.fixture
def echo():
    sock, thread = udp_echo()
    yield sock.getsockname()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.sendto(b"stop", sock.getsockname())
    thread.join()
    sock.close()


def datagram_client(where: tuple[str, int]) -> socket.socket:
    client = socket.socket(socket.AF_INET6 if ":" in where[0] else socket.AF_INET, socket.SOCK_DGRAM)
    client.settimeout(SECONDS)
    client.connect(where)
    return client


@pytest.mark.parametrize("host_ip", ["127.0.0.1", "0.0.0.0", "::1", "::"])
def test_each_udp_client_has_its_own_flow(running, echo, host_ip):
    port = running.publish("udp", echo, host_ip=host_ip)[1]
    where = ("::1" if ":" in host_ip else "127.0.0.1", port)
    seen = set()
    for number in range(3):
        with datagram_client(where) as client:
            for turn in range(2):
                client.send(b"%d-%d" % (number, turn))
                data, _, peer = client.recv(999).partition(b" from ")
                assert data == b"%d-%d" % (number, turn)
                seen.add(peer)
    assert len(seen) == 3


def test_the_answer_comes_from_the_address_that_was_asked(running, echo):
    """A wildcard socket would answer from 127.0.0.1."""
    port = running.publish("udp", echo, host_ip="0.0.0.0")[1]
    with datagram_client(("127.0.0.77", port)) as client:
        client.send(b"x")
        assert client.recv(999).startswith(b"x from")


def test_silent_udp_flows_are_forgotten_and_their_number_is_bounded(running, echo, monkeypatch):
    monkeypatch.setattr(relay, "UDP_FLOWS", 3)
    where = running.publish("udp", echo)
    flows = running.proxy.relays["udp", *where].flows
    for _ in range(6):
        with datagram_client(where) as client:
            client.send(b"x")
            client.recv(999)
    assert len(flows) == 3
    monkeypatch.setattr(relay, "UDP_SILENCE", 0.3)
    with datagram_client(where) as client:
        client.send(b"wakes the proxy, which waits for the old silence")
        client.recv(999)
    wait_until(lambda: not flows)
    wait_until(lambda: not running.proxy.timed)  # nothing wakes the proxy any more


def test_big_and_empty_datagrams(running, echo):
    with datagram_client(running.publish("udp", echo)) as client:
        for size in (0, 1, 60_000):
            client.send(bytes(size))
            assert client.recv(65535).startswith(bytes(size) + b" from")


def test_control_add_list_remove_and_facts(running):
    sockets = [open_socket("tcp", "127.0.0.1", 0) for _ in range(250)]
    ports = [Port("many", "tcp", "127.0.0.1", sock.getsockname()[1], "127.0.0.1", 1) for sock in sockets]
    running.client.add(list(zip(ports, sockets, strict=True)))
    for sock in sockets:
        sock.close()
    assert set(running.client.held()) == set(read_facts(running.facts)) == set(ports)
    with open_socket("udp", "127.0.0.1", 0) as sock:
        other = Port("other", "udp", "127.0.0.1", sock.getsockname()[1], "127.0.0.1", 1)
        running.client.add([(other, sock)])
    running.client.remove("many")
    running.client.remove("never heard of")
    assert running.client.held() == read_facts(running.facts) == [other]
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(ports[0].bound[1:], 5)


@pytest.mark.parametrize(
    "packet",
    [b"\xff", b"[]", b"{}", b'{"op": "format disk"}', b'{"op": "add", "container": "c", "ports": [["tcp"]]}', b'{"op": "remove"}', b'"op"', b"1"],
)
def test_a_bad_request_is_answered_and_harms_nobody(running, packet):
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as control:
        control.settimeout(5)
        control.connect(running.path)
        control.send(packet)
        assert "error" in json.loads(control.recv(9999))
    assert running.client.held() == []


def test_sockets_and_ports_must_match(running):
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as control, open_socket("tcp", "127.0.0.1", 0) as sock:
        control.connect(running.path)
        socket.send_fds(control, [b'{"op": "add", "container": "c", "ports": []}'], [sock.fileno()])
        assert "0 ports but 1 sockets" in json.loads(control.recv(9999))["error"]
    running.client.held()


def test_a_proxy_that_dies_is_asked_until_nobody_listens(tmp_path):
    """A process that is killed closes its descriptors one by one: a new connection may still get into the queue of its listening socket."""
    path = str(tmp_path / "dying.sock")
    dying = listen(path)
    made = []

    def die() -> None:
        for _ in range(2):
            dying.accept()[0].close()  # the connection that was used, and the one that came too late
        dying.close()

    def start() -> None:
        if not made:
            made.append(Running(tmp_path))
            os.rename(made[0].path, path)
            made[0].path = path

    thread = threading.Thread(target=die, daemon=True)
    thread.start()
    client = ProxyClient(path, start)
    client._watch = lambda: None
    assert client.held() == []
    thread.join(SECONDS)
    client.close()
    made[0].client.close()
    made[0].client = ProxyClient(path, Running.no_start)
    made[0].close()


def test_the_watch_tries_again_until_the_ports_are_handed_over(running, monkeypatch, caplog):
    monkeypatch.setattr(proxyclient, "FIRST_PAUSE", 0.05)
    tried = []

    def lost() -> None:
        tried.append(1)
        if len(tried) < 3:
            raise Unavailable("no process can be made")

    running.client.lost = lost
    running.client.held()
    wait_until(lambda: len(running.proxy.selector.get_map()) == 3)  # the listening socket, the client, its watch
    monkeypatch.setattr(ProxyClient, "_wait_end", lambda self: len(tried) < 3)
    for key in list(running.proxy.selector.get_map().values()):
        if key.fileobj is not running.control:
            key.fileobj.shutdown(socket.SHUT_RDWR)
    wait_until(lambda: len(tried) == 3)
    assert caplog.text.count("tried again in") == 2


def test_a_request_waits_while_descriptors_are_out(running, monkeypatch, capsys):
    monkeypatch.setattr(relay, "PAUSE", 0.1)
    real, refused = running.proxy.control, []

    class Full:
        """The control socket, with every descriptor in use at first."""

        def fileno(self) -> int:
            return real.fileno()

        def accept(self):
            if len(refused) < 2:
                refused.append(1)
                raise OSError(errno.EMFILE, "full")
            return real.accept()

        def close(self) -> None:
            real.close()

    running.proxy.control = Full()
    assert running.client.held() == []
    assert len(refused) == 2
    assert "a request waits" in capsys.readouterr().err


def test_errors_of_the_client(running, tmp_path):
    with pytest.raises(Internal, match="KeyError"):
        running.client._ask({"op": "nothing"})
    alone = ProxyClient(str(tmp_path / "none.sock"), running.no_start)
    assert not alone.running()
    with pytest.raises(Unavailable, match="does not answer"):
        alone.held()
    alone.close()
    with pytest.raises(Unavailable, match="closed"):
        alone.held()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"format": 2, "ports": []}', '{"format": 1, "ports": [[1]]}', '{"format": 1}'])
def test_broken_facts_are_said_and_passed_over(tmp_path, capsys, content):
    (tmp_path / "facts").write_text(content)
    assert read_facts(str(tmp_path / "facts")) == []
    assert "cannot read" in capsys.readouterr().err


def test_the_control_socket_is_for_root_only(running):
    assert os.stat(running.path).st_mode & 0o777 == 0o600
