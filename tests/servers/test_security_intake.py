"""What reaches a socket: too much, too slow, or no request at all. Each is refused, with its limit."""

import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat

import httpx
import pytest
from conftest import RECEIVE_TIMEOUT_MS

from benchmark.measure.processes import Server

SOCKET_TIMEOUT_S = 60.0
ASKED = b'{"text": "I love you."}'
ANSWER = {"translation": "Ich liebe dich."}
MOST_PIECES = 20_000


def request(*headers: bytes, body: bytes = ASKED, route: bytes = b"/translate") -> bytes:
    lines = [b"POST " + route + b" HTTP/1.1", b"Host: a", b"Content-Type: application/json", *headers]
    if not any(header.lower().startswith((b"content-length", b"transfer-encoding")) for header in headers):
        lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join([*lines, b"", body])


def connected(server: Server) -> socket.socket:
    host, _, port = server.url.removeprefix("http://").partition(":")
    return socket.create_connection((host, int(port)), timeout=SOCKET_TIMEOUT_S)


def exchange(server: Server, *pieces: bytes, endless: bytes = b"") -> list[tuple[int, object]]:
    """The answers to what is sent, up to the end of the connection; `endless` is repeated until that."""
    received = b""
    with connected(server) as connection:
        try:
            for piece in pieces:
                connection.sendall(piece)
            if endless:
                for piece in repeat(endless, MOST_PIECES):
                    connection.sendall(piece)
                pytest.fail("the server took it all")
        except OSError:
            pass  # closed by the server, which has said why
        try:
            while more := connection.recv(65_536):
                received += more
        except ConnectionResetError:
            pass
    return list(answers(received))


def answers(received: bytes) -> Iterator[tuple[int, object]]:
    while received:
        head, _, rest = received.partition(b"\r\n\r\n")
        status, *headers = head.decode().lower().split("\r\n")
        length = next(int(line.split(":")[1]) for line in headers if line.startswith("content-length"))
        assert "application/json" in head.decode()
        yield int(status.split()[1]), json.loads(rest[:length])
        received = rest[length:]


def refused(server: Server, *pieces: bytes, endless: bytes = b"") -> tuple[int, str]:
    ((status, answer),) = exchange(server, *pieces, endless=endless)
    assert isinstance(answer, dict) and isinstance(answer["detail"], str)
    return status, answer["detail"]


@pytest.fixture(autouse=True)
def goes_on(server: Server, client: httpx.Client) -> Iterator[None]:
    """Whatever came before, the server answers the next request, and has no traceback in its log."""
    yield
    assert client.post("/translate", content=ASKED).json() == ANSWER
    assert "Traceback" not in server.log_path.read_text()


def test_too_many_headers(server: Server) -> None:
    status, detail = refused(server, request(*[b"X-A: b"] * 62))
    assert status == 431 and "64 headers" in detail


@pytest.mark.parametrize("header", [b"X-A: " + b"a" * 20_000, b"X-A: b\r\n" * 3_000])
def test_a_large_header_in_one_piece(server: Server, header: bytes) -> None:
    status, detail = refused(server, request(header.strip()))
    assert status == 431 and ("16384 bytes" in detail or "64 headers" in detail)


@pytest.mark.parametrize("endless", [b"a" * 1_000, b"b\r\nX-A: "])
def test_an_endless_header(server: Server, endless: bytes) -> None:
    status, detail = refused(server, b"GET /health HTTP/1.1\r\nX-A: ", endless=endless)
    assert status == 431 and "16384 bytes" in detail


def test_what_follows_a_header_in_one_piece_with_its_end_is_not_counted_as_header(server: Server) -> None:
    asked = request(body=b'{"text": ""}')
    with connected(server) as connection:
        connection.sendall(asked + asked[:30])
        received = connection.recv(65_536)
        connection.sendall(asked[30:] + asked * 299)
        while received.count(b" 422 ") < 301:
            more = connection.recv(65_536)
            assert more, received[-500:]
            received += more


def test_an_endless_request_line(server: Server) -> None:
    status, detail = refused(server, b"GET /", endless=b"a" * 1_000)
    assert status == 431 and "16384 bytes" in detail


@pytest.mark.parametrize("expect", [b"X-A: b", b"Expect: 100-continue"])
def test_a_body_that_is_said_to_be_too_large_is_not_waited_for(server: Server, expect: bytes) -> None:
    status, detail = refused(server, request(b"Content-Length: 2097153", expect, body=b""))
    assert status == 413 and "2097152 bytes" in detail


def test_a_chunked_body_is_cut_off_at_the_limit(server: Server) -> None:
    chunk = b"10000\r\n" + b" " * 65_536 + b"\r\n"
    head = request(b"Transfer-Encoding: chunked", body=b"")
    # One chunk more than the limit, whole, and one that never ends: each has a guard of its own.
    for pieces, endless in (((head, *[chunk] * 33, b"0\r\n\r\n"), b""), ((head,), chunk)):
        status, detail = refused(server, *pieces, endless=endless)
        assert status == 413 and "2097152 bytes" in detail


def chunked(body: bytes, trailers: bytes) -> bytes:
    return b"%x\r\n%s\r\n0\r\n%s" % (len(body), body, trailers)


def test_endless_trailers_are_cut_off(server: Server) -> None:
    status, _ = refused(
        server,
        request(b"Transfer-Encoding: chunked", body=chunked(ASKED, b"")),
        endless=b"X-A: " + b"a" * 8_000 + b"\r\n",
    )
    assert status == 413


def test_a_trailer_is_no_header(server: Server) -> None:
    asked = request(
        b"Transfer-Encoding: chunked",
        b"Connection: close",
        body=chunked(ASKED, b"X-Timeout-Ms: soon\r\n\r\n"),
    )
    assert exchange(server, asked) == [(200, ANSWER)]


SLOW = {
    "a header": (b"POST /translate HTTP/1.1\r\nHost: a\r\nX-A", "header should arrive within"),
    "a body": (request(b"Content-Length: 100"), "body should arrive within"),
    "a body of which nothing comes": (request(b"Content-Length: 100", body=b""), "body should arrive within"),
    "a chunked body": (request(b"Transfer-Encoding: chunked", body=b"5\r\n{"), "body should arrive within"),
}
SILENT = {
    "nothing": b"",
    "line ends": b"\r\n\r\n",
}


def test_whoever_is_slow_is_cut_off(server: Server) -> None:
    unread = b"GET /health HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{"
    with ThreadPoolExecutor(len(SLOW) + len(SILENT) + 1) as pool:
        slow = {case: pool.submit(exchange, server, asked) for case, (asked, _) in SLOW.items()}
        silent = {case: pool.submit(exchange, server, asked) for case, asked in SILENT.items()}
        answered = pool.submit(exchange, server, unread)
    for case, (_, message) in SLOW.items():
        ((status, answer),) = slow[case].result()
        assert status == 408, case
        assert isinstance(answer, dict) and message in answer["detail"], case
        assert f"{RECEIVE_TIMEOUT_MS} ms" in answer["detail"]
    for case, ended in silent.items():
        assert ended.result() == [], case
    assert answered.result() == [(200, {"status": "alive"})]


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /health HTTP/9.9\r\n\r\n",
        b"GET \xff HTTP/1.1\r\nHost: a\r\n\r\n",
        request(b"Content-Length: -1"),
        request(b"Content-Length: 99999999999999999999999"),
        request(b"Content-Length: 3", b"Transfer-Encoding: chunked"),
        request(b"Transfer-Encoding: chunked", body=b"zz\r\n"),
        request(b"Connection: Upgrade", b"Upgrade: h2c"),
        b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n",
    ],
)
def test_what_is_no_request(server: Server, garbage: bytes) -> None:
    assert refused(server, garbage)[0] == 400


@pytest.mark.parametrize("protocol", [b"h2c", b"websocket"])
def test_another_protocol_is_answered_in_this_one(server: Server, protocol: bytes) -> None:
    asked = b"GET /health HTTP/1.1\r\nHost: a\r\nConnection: upgrade, close\r\nUpgrade: %b\r\n\r\n"
    assert exchange(server, asked % protocol) == [(200, {"status": "alive"})]


def test_a_request_that_is_whole_is_answered_before_a_bad_one_behind_it_ends_the_connection(
    server: Server,
) -> None:
    for bad in (b"garbage\r\n\r\n", request(b"X-A: " + b"a" * 20_000)):
        assert exchange(server, request() + bad) == [(200, ANSWER)]


BAD_JSON = {
    "a name twice": (b'{"text": "a", "text": "b"}', "twice"),
    "a name twice, once escaped": (b'{"text": "a", "te\\u0078t": "b"}', "twice"),
    "beams twice": (b'{"text": "a", "num_beams": 1, "num_beams": 2}', "twice"),
    "UTF-16": ('{"text": "a"}'.encode("utf-16"), "Invalid JSON"),
    "a byte order mark": ('{"text": "a"}'.encode("utf-8-sig"), "Invalid JSON"),
    "invalid UTF-8": (b'{"text": "\xc3\x28"}', "Invalid JSON"),
    "an overlong form": (b'{"text": "\xc0\xaf"}', "Invalid JSON"),
    "half of a pair": (b'{"text": "\\udc00 a"}', "Invalid JSON"),
    "deep lists": (b'{"text": ' + b"[" * 500_000 + b"]" * 500_000 + b"}", "Invalid JSON"),
    "deep objects": (b'{"text":' * 200_000, "Invalid JSON"),
    "a long number": (b'{"text": "a", "num_beams": ' + b"9" * 100_000 + b"}", "num"),
    "a large exponent": (b'{"text": "a", "num_beams": 1e999999}', "integer"),
    "no number": (b'{"text": "a", "num_beams": NaN}', "integer"),
    "two documents": (ASKED + ASKED, "Invalid JSON"),
    "an unknown name": (b'{"text": "a", "' + b"x" * 10_000 + b'": 1}', "Extra inputs"),
}


@pytest.mark.parametrize("case", BAD_JSON)
def test_bad_json(client: httpx.Client, case: str) -> None:
    content, message = BAD_JSON[case]
    answer = client.post("/translate", content=content, headers={"content-type": "application/json"})
    assert answer.status_code == 422, answer.text
    assert message in answer.text and len(answer.content) < 1_000


def test_colons_in_a_text_are_no_names(client: httpx.Client) -> None:
    body = {"text": '"text": "text": {"text": 1} I love you.', "num_beams": 1}
    assert client.post("/translate", json=body).status_code == 200


def test_a_whole_number_may_have_a_point(client: httpx.Client) -> None:
    for value, status in ((b"1.0", 200), (b"2e0", 200), (b"1.5", 422), (b"true", 422)):
        content = b'{"text": "I love you.", "num_beams": %b}' % value
        answer = client.post("/translate", content=content, headers={"content-type": "application/json"})
        assert answer.status_code == status, value


def test_a_compressed_body_is_no_json(client: httpx.Client) -> None:
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    assert client.post("/translate", content=b"\x1f\x8b" + b"\0" * 100, headers=headers).status_code == 422


def test_no_redirect_follows_the_host_header(client: httpx.Client) -> None:
    answer = client.post("/translate/", content=ASKED, headers={"host": "elsewhere.example"})
    assert answer.status_code == 404 and "elsewhere" not in str(answer.headers) + answer.text
