"""redis with a config file and a data directory from the host; its data outlives stop and start."""

import socket
from pathlib import Path

from harness.cli import Cli
from harness.waiting import eventually


def redis(port: int, *words: str) -> bytes:
    """One command in RESP (redis serialization protocol) and its whole answer."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        request = f"*{len(words)}\r\n" + "".join(f"${len(word)}\r\n{word}\r\n" for word in words)
        connection.sendall(request.encode())
        answer = connection.recv(65536)
        assert answer, "closed without an answer"
        return answer


def test_config_data_and_clients(cli: Cli, name: str, free_port: int, tmp_path: Path) -> None:
    config, data = tmp_path / "redis.conf", tmp_path / "data"
    config.write_text("bind 0.0.0.0\nprotected-mode no\ndir /data\nappendonly yes\nmaxmemory 64mb\n")
    data.mkdir()
    data.chmod(0o777)
    cli("run", "-d", "--name", name, "-p", f"{free_port}:6379", "-v", f"{config}:/etc/own.conf:ro", "-v", f"{data}:/data", "redis",
        "redis-server", "/etc/own.conf")  # fmt: skip
    assert eventually(lambda: redis(free_port, "PING")) == b"+PONG\r\n"
    assert b"67108864" in redis(free_port, "CONFIG", "GET", "maxmemory")
    assert redis(free_port, "SET", "ship", "wherry") == b"+OK\r\n"
    assert cli("exec", name, "redis-cli", "get", "ship").line == "wherry"

    assert cli("stop", name).line == name
    assert cli("inspect", "-f", "{{.State.ExitCode}}", name).line == "0"
    assert list(data.iterdir()), "redis wrote its data to the host directory"
    cli("start", name)
    eventually(lambda: redis(free_port, "GET", "ship") == b"$6\r\nwherry\r\n", what="redis has loaded its data again")
    assert cli("restart", name).line == name
    eventually(lambda: redis(free_port, "GET", "ship") == b"$6\r\nwherry\r\n", what="redis has loaded its data again")


def test_anonymous_volume_of_the_image(cli: Cli, name: str) -> None:
    cli("run", "-d", "--name", name, "redis")
    volume = cli("inspect", "-f", "{{range .Mounts}}{{.Name}} {{.Destination}}{{end}}", name).line.split()
    assert volume[1] == "/data" and volume[0] in cli("volume", "ls", "-q").out.split()
    eventually(lambda: cli("exec", name, "redis-cli", "set", "a", "b").line == "OK")
    cli("rm", "-f", "-v", name)
    assert volume[0] not in cli("volume", "ls", "-q").out.split()
