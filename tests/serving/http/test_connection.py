"""Connections as clients have them that ask nothing, or too much."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from tagnn_fast.serving import app
from tagnn_fast.serving.http import connection, server
from tagnn_fast.serving.http.service import Limits
from tests.serving.http.services import HeldModel, ask, exported, until


@contextmanager
def listening(limits: Limits = Limits()) -> Iterator[tuple[server.Server, int]]:  # noqa: B008
    """A server in this process, and its port."""
    listener = server.listen("127.0.0.1", 0)
    listener.listen()
    running = server.Server(app(exported(), limits=limits), drain_seconds=0)
    thread = threading.Thread(target=running.run, args=([listener],))
    thread.start()
    try:
        yield running, listener.getsockname()[1]
    finally:
        running.handle_exit(signal.SIGTERM, None)
        thread.join(60)
        assert not thread.is_alive()


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=30)


def closed(client: socket.socket) -> bool:
    """Whether the server ends the connection, answering nothing."""
    try:
        return client.recv(1) == b""
    except ConnectionError:
        return True


def test_clients_that_ask_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections that say nothing, and requests that do not end, are cut; others go on."""
    monkeypatch.setattr(connection, "_REQUEST_SECONDS", 0.5)
    with listening() as (_, port):
        slow = [connect(port) for _ in range(3)]
        slow[1].sendall(b"POST /v1/recommend HTTP/1.1\r\nHost: ")
        slow[2].sendall(b"POST /v1/recommend HTTP/1.1\r\nHost: here\r\nContent-Length: 40\r\n\r\n{")
        kept = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        for _ in range(3):
            kept.request("GET", "/live")
            assert kept.getresponse().read() == b'{"live":true}'
            time.sleep(0.4)
        assert all(closed(client) for client in slow)


def test_clients_that_read_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """They wait for themselves alone, and are cut."""
    monkeypatch.setattr(connection, "_REQUEST_SECONDS", 1.0)
    with listening(Limits(sessions=4, k=4, queue=4)) as (running, port):
        deaf = connect(port)
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: here\r\n\r\n" * 3000)
        until(lambda: running.server_state.unanswered == 1)
        assert ask(port, "/v1/recommend", {"session": [13], "k": 4})[0] == 200
        until(lambda: running.server_state.unanswered == 0)
        deaf.close()


def test_clients_that_are_cut_off(caplog: pytest.LogCaptureFixture) -> None:
    """With requests one behind the other: nobody is told of it."""
    with listening() as (running, port):
        for _ in range(20):
            client = connect(port)
            client.sendall(request(b'{"session": [13], "k": 4}') * 20)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()  # by a reset
        assert ask(port, "/live")[0] == 200
        until(lambda: running.server_state.unanswered == 0)
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


def test_long_headers() -> None:
    with listening() as (_, port):
        for begin in (b"GET /", b"GET / HTTP/1.1\r\nHost: here\r\nX: "):
            client = connect(port)
            with suppress(ConnectionError):
                for _ in range(100):
                    client.sendall((begin or b"") + b"x" * 10_000)
                    begin = b""
            assert closed(client)
        assert ask(port, "/live")[0] == 200


def test_too_many_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "_most_connections", lambda: 3)
    with listening() as (_, port):
        kept = [connect(port) for _ in range(3)]
        for client in kept:
            client.sendall(b"GET /live HTTP/1.1\r\nHost: here\r\n\r\n")
            assert client.recv(15) == b"HTTP/1.1 200 OK"
        assert closed(connect(port))
        kept[0].close()
        until(lambda: not closed_at_once(port))


def closed_at_once(port: int) -> bool:
    with suppress(ConnectionError, http.client.RemoteDisconnected):
        return ask(port, "/live")[0] != 200
    return True


def request(body: bytes, path: str = "/v1/recommend", *headers: str) -> bytes:
    head = "".join(f"{line}\r\n" for line in (f"POST {path} HTTP/1.1", f"Content-Length: {len(body)}", *headers))
    return head.encode() + b"\r\n" + body


def answer_of(client: socket.socket) -> tuple[int, http.client.HTTPMessage, Any]:
    answer = http.client.HTTPResponse(client, method="POST")
    answer.begin()
    return answer.status, answer.headers, json.loads(answer.read())


def test_too_many_requests() -> None:
    """Beyond what may be unanswered a request is refused at once, and probes are answered; connections live on."""
    with listening(Limits(sessions=4, k=4, queue=4, timeout=60)) as (running, port), HeldModel().in_place() as model:
        state = running.server_state
        waiting = [connect(port) for _ in range(4)]
        for client in waiting:
            client.sendall(request(b'{"session": [13], "k": 4}'))
        until(lambda: state.unanswered == 4)
        slow = connect(port)
        slow.sendall(request(b'{"session": [13], "k": 4}')[:-5])  # is not here yet, and does not count
        with connect(port) as refused:
            for _ in range(3):
                body = b'{"session": [13], "key": "' + b"x" * 100_000 + b'"}'
                refused.sendall(request(body))
                status, headers, answer = answer_of(refused)
                assert (status, headers["Retry-After"]) == (503, "1")
                assert answer == {"error": {"field": None, "message": "as many wait as may: try again"}}
            refused.sendall(request(b"{}", "/nothing", "Connection: close"))
            assert answer_of(refused)[0] == 503
            assert closed(refused)
        with connect(port) as asks_first:  # whose body would come when asked for
            head = request(b"", "/v1/recommend", "Expect: 100-continue").replace(b"Length: 0", b"Length: 25")
            asks_first.sendall(head)
            assert answer_of(asks_first)[0] == 503
            assert closed(asks_first)
        assert ask(port, "/live")[0] == 200
        counted = [line for line in running._service.observer.text(0, []).decode().splitlines() if "503" in line]
        assert 'tagnn_fast_requests_total{route="/v1/recommend",status="503"} 4.0' in counted
        assert 'tagnn_fast_requests_total{route="other",status="503"} 1.0' in counted
        assert running.server_state.route("/v1/sessions/a/clicks") == "/v1/sessions/{id}/clicks"
        text = running._service.observer.text(0, []).decode()
        assert 'tagnn_fast_request_seconds_count{route="/v1/recommend"} 0.0' in text  # refused in no time: no wait
        model.let.set()
        for client in waiting:
            assert answer_of(client)[0] == 200
        slow.close()
        until(lambda: state.unanswered == 0)
        waiting[0].sendall(request(b'{"session": [13]}'))
        assert answer_of(waiting[0])[0] == 422  # k is 20
        waiting[0].sendall(request(b'{"session": [13], "k": 4}') * 2)  # one behind the other
        answers = b""
        while answers.count(b"HTTP/1.1 200 OK") < 2:  # both may come in one piece
            answers += waiting[0].recv(65_536) or pytest.fail("the connection was closed")
        until(lambda: state.unanswered == 0)


@pytest.mark.parametrize("cut", [0, 1, 20])
def test_offers_of_another_protocol(cut: int) -> None:
    """As Java's client makes with each first request: the body is read, in however many pieces it comes."""
    offer = "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__"
    asked = request(b'{"session": [13], "k": 4}', "/v1/recommend", "Host: here", *offer)
    with listening() as (_, port), connect(port) as client:
        expected = ask(port, body={"session": [13], "k": 4})[1]
        for _ in range(2):
            pieces = (asked[:-cut], asked[-cut:]) if cut else (asked,)
            for piece in pieces:
                client.sendall(piece)
                time.sleep(0.05)
            status, _, answer = answer_of(client)
            assert (status, answer) == (200, expected)
        client.sendall(b"GET /live HTTP/1.1\r\nHost: here\r\nConnection: close, Upgrade\r\nUpgrade: websocket\r\n\r\n")
        status, _, answer = answer_of(client)
        assert (status, answer) == (200, {"live": True})
        assert closed(client)
        with connect(port) as other:
            other.sendall(b"CONNECT here:80 HTTP/1.1\r\nHost: here\r\n\r\n")
            assert other.recv(9) == b"HTTP/1.1 "


def test_clients_that_leave() -> None:
    """What they asked is scored no more, and counts no more."""
    with listening(Limits(sessions=4, k=4, queue=4, timeout=60)) as (running, port), HeldModel().in_place() as model:
        clients = [connect(port) for _ in range(3)]
        for number, client in enumerate(clients):
            client.sendall(request(f'{{"session": [{number}], "k": 4}}'.encode()))
            until(lambda number=number: running.server_state.unanswered == number + 1)
            until(lambda: model.asked == [[[0]]])
        for client in clients[1:]:
            client.close()
        until(lambda: running._service.queue.depth == 0)
        assert running.server_state.unanswered == 1
        model.let.set()
        assert answer_of(clients[0])[0] == 200
        assert model.asked == [[[0]]]
