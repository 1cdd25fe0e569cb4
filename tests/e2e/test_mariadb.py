"""Two MariaDB instances at once: own ports, own volumes, each over TCP from the host and over its own socket inside."""

import socket
from contextlib import closing

import pymysql

from harness.cli import Cli
from harness.waiting import eventually


def two_ports() -> tuple[int, int]:
    with socket.socket() as one, socket.socket() as two:
        one.bind(("", 0))
        two.bind(("", 0))
        return one.getsockname()[1], two.getsockname()[1]


def query(port: int, password: str, statement: str) -> list[tuple[object, ...]]:
    try:
        connection = pymysql.connect(host="127.0.0.1", port=port, user="root", password=password, database="harbour", connect_timeout=5)
    except pymysql.err.OperationalError as error:
        raise ConnectionError(str(error))
    with closing(connection), connection.cursor() as cursor:
        cursor.execute(statement)
        connection.commit()
        return list(cursor.fetchall())


def test_two_instances(cli: Cli, name: str) -> None:
    instances = {f"{name}-{letter}": (port, f"secret-{letter}") for letter, port in zip("ab", two_ports(), strict=True)}
    for each, (port, password) in instances.items():
        cli("run", "-d", "--name", each, "-p", f"{port}:3306", "-v", f"{each}:/var/lib/mysql", "-e", f"MARIADB_ROOT_PASSWORD={password}",
            "-e", "MARIADB_DATABASE=harbour", "mariadb")  # fmt: skip
    for each, (port, password) in instances.items():
        assert eventually(lambda p=port, s=password: query(p, s, "SELECT 1"), 60, every=0.3, what=f"{each} answers") == [(1,)]  # type: ignore[misc]
        query(port, password, "CREATE TABLE boats (name TEXT)")
        query(port, password, f"INSERT INTO boats VALUES ('{each}')")
    for each, (port, password) in instances.items():
        assert query(port, password, "SELECT name FROM boats") == [(each,)]
        over_socket = cli("exec", each, "mariadb", "-N", "-uroot", f"-p{password}", "harbour", "-e", "SELECT name, @@socket FROM boats")
        assert over_socket.line.split() == [each, "/run/mysqld/mysqld.sock"]

    first, (port, password) = next(iter(instances.items()))
    cli("stop", "-t", "30", first)
    assert cli("inspect", "-f", "{{.State.ExitCode}}", first).line == "0"
    cli("rm", first)
    cli("run", "-d", "--name", first, "-p", f"{port}:3306", "-v", f"{first}:/var/lib/mysql", "mariadb")
    assert eventually(lambda: query(port, password, "SELECT name FROM boats"), 60, every=0.3) == [(first,)]
