"""HTTP/1.1 as the client reads and writes it: bytes in, bytes out, cut at every place."""

import pytest

from wherry.cli.http1 import ProtocolError, Reader, query_string, quote, request


def reader_of(data: bytes, step: int) -> Reader:
    pieces = [data[i : i + step] for i in range(0, len(data), step)]
    return Reader(lambda _: pieces.pop(0) if pieces else b"")


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n1\r\n!\r\n0\r\nT: 1\r\n\r\n"
LENGTH = b"HTTP/1.1 404 Not Found\r\nContent-Length: 3\r\nApi-Version: 1.51\r\n\r\nabc"
NONE = b"HTTP/1.1 204 No Content\r\n\r\n"
INTERIM = b"HTTP/1.1 100 Continue\r\n\r\n"


@pytest.mark.parametrize("step", [1, 2, 3, 7, 1000])
def test_answers_one_after_another(step: int) -> None:
    reader = reader_of(CHUNKED + NONE + INTERIM + LENGTH, step)
    got = []
    for method in ("GET", "POST", "GET"):
        response = reader.head()
        got.append((response.status, b"".join(reader.body(response, method))))
        assert reader.left_open
    assert got == [(200, b"hello!"), (204, b""), (404, b"abc")]
    assert response.headers["api-version"] == "1.51" and response.reason == "Not Found"
    assert reader.rest == b""


@pytest.mark.parametrize("step", [1, 5, 1000])
def test_early_bytes_of_a_hijack_are_kept(step: int) -> None:
    data = b"HTTP/1.1 101 UPGRADED\r\nUpgrade: tcp\r\n\r\n" + b"early"
    reader = reader_of(data, step)
    assert reader.head().status == 101
    assert b"early".startswith(reader.rest)
    assert step < 1000 or reader.rest == b"early"


def test_body_to_the_end_and_close() -> None:
    reader = reader_of(b"HTTP/1.1 200 OK\r\n\r\nabcdef", 4)
    assert b"".join(reader.body(reader.head(), "GET")) == b"abcdef"
    assert not reader.left_open
    reader = reader_of(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx", 100)
    assert b"".join(reader.body(reader.head(), "GET")) == b"x"
    assert not reader.left_open


def test_head_has_no_body() -> None:
    reader = reader_of(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n", 100)
    assert list(reader.body(reader.head(), "HEAD")) == []


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"HTTP/1.1 200",
        b"SSH-2.0-x\r\n\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nnocolon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        b"X" * 200_000,
    ],
)
def test_bad_answers_are_errors(data: bytes) -> None:
    reader = reader_of(data, 1000)
    with pytest.raises(ProtocolError):
        list(reader.body(reader.head(), "GET"))


def test_requests() -> None:
    assert request("GET", "/v1.51/info", {"A": "b"}) == b"GET /v1.51/info HTTP/1.1\r\nHost: wherry\r\nA: b\r\n\r\n"
    assert request("POST", "/x", {}) == b"POST /x HTTP/1.1\r\nHost: wherry\r\nContent-Length: 0\r\n\r\n"
    assert request("POST", "/x", {}, b"hi").endswith(b"Content-Length: 2\r\n\r\nhi")
    assert b"Content-Length" not in request("POST", "/x", {"Transfer-Encoding": "chunked"})


def test_queries() -> None:
    assert query_string({}) == ""
    assert query_string({"all": True, "size": False, "name": "", "t": 0, "limit": -1}) == "?all=1&t=0&limit=-1"
    assert query_string({"names": ["a b", "c&d"], "none": []}) == "?names=a%20b&names=c%26d"
    assert quote("é/..\r\n?#%") == "%C3%A9%2F..%0D%0A%3F%23%25"
    assert quote("sha256:ab/c", b":/") == "sha256:ab/c"
