"""The load generator: what it sends when, and what it says of a server that is slow, full, or gone."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np

from benchmarks.load import LOST, NOT_CONNECTED, arrival_times, post, run
from tests.serving.http.valkey_server import free_port

Answer = Callable[[bytes], bytes]


@contextmanager
def server(answer: Answer) -> Iterator[tuple[str, int]]:
    """Answers each request of each connection on a thread; nothing for an empty answer, but the connection's end."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=100)

    def serve(connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as lines:
            while head := lines.readline():
                size = 0
                while (line := lines.readline()) != b"\r\n":
                    size = int(line.split(b":")[1]) if line.lower().startswith(b"content-length") else size
                data = answer(head + lines.read(size))
                if not data:
                    return
                connection.sendall(data[:20])
                time.sleep(0.001)
                connection.sendall(data[20:])

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listener.getsockname()
    finally:
        listener.close()


def reply(status: int, body: bytes = b"{}", head: str = "") -> bytes:
    return f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n{head}\r\n".encode() + body


REQUESTS = [post("/a", b"1"), post("/b", b"22")]


def test_answers_of_each_request() -> None:
    with server(lambda request: reply(200, request.split()[1] + request[-1:])) as address:
        outcome = run(address, REQUESTS, arrival_times(200, 0.25))
    assert outcome.statuses.tolist() == [200] * 50
    assert outcome.bodies == {(0, b"/a1"): 25, (1, b"/b2"): 25}
    assert (outcome.seconds > 0).all()
    assert (outcome.late >= 0).all()
    assert 0.1 < outcome.wall < 5


def test_waiting_for_a_connection_counts() -> None:
    def slow(_: bytes) -> bytes:
        time.sleep(0.05)
        return reply(200)

    with server(slow) as address:
        outcome = run(address, REQUESTS, np.zeros(4), most_connections=1)
    assert (outcome.seconds >= 0.05 * np.arange(1, 5)).all()
    assert (outcome.late >= 0.05 * np.arange(4)).all()


def test_other_statuses_and_closed_connections() -> None:
    with server(lambda request: reply(503, head="Connection: close\r\n")) as address:
        outcome = run(address, REQUESTS, np.linspace(0, 0.1, 10))
    assert outcome.statuses.tolist() == [503] * 10
    assert not outcome.bodies


def test_lost() -> None:
    with server(lambda request: b"" if b"/b" in request else reply(200)) as address:
        outcome = run(address, REQUESTS, np.linspace(0, 0.1, 6))
    assert outcome.statuses.tolist() == [200, LOST] * 3


def test_nobody_listens() -> None:
    assert run(("127.0.0.1", free_port()), REQUESTS, np.zeros(2)).statuses.tolist() == [NOT_CONNECTED] * 2


def test_events_at_their_time() -> None:
    times: list[float] = []
    start = time.perf_counter()
    with server(lambda _: reply(200)) as address:
        run(address, REQUESTS, np.array([0.0, 0.2]), events=[(0.1, lambda: times.append(time.perf_counter() - start))])
    assert len(times) == 1
    assert 0.1 <= times[0] < 5


def test_arrival_times() -> None:
    times = arrival_times(1000, 10)
    assert len(times) == 10_000
    assert (np.diff(times) >= 0).all()
    assert 9.9 < times[-1] < 10
    assert (times == arrival_times(1000, 10)).all()
