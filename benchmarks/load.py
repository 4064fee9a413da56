"""An open-loop load generator for HTTP: arrival times are fixed beforehand, so that all waiting counts.

One thread around epoll, with keep-alive connections: on a machine of two cores it leaves the service the other one. How
late it was itself to send is among its figures.
"""

from __future__ import annotations

import gc
import select
import socket
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

LOST, NOT_CONNECTED = 0, -1  # in the place of a status: no answer to what was sent; nobody listened
PATIENCE = 10.0  # seconds after the last arrival, or the last answer, until what is missing is lost


@dataclass
class Outcome:
    """What became of each request.

    Attributes:
        statuses: of HTTP, or one of those above, int64 (requests,).
        seconds: from its arrival time to the last byte of its answer, float64 (requests,).
        late: from its arrival time until it was sent, float64 (requests,): for want of a connection, or by itself.
        bodies: how often each answer with status 200 came, by the request's number in what was given and the body.
        wall: seconds from the first arrival to the last answer.
    """

    statuses: np.ndarray
    seconds: np.ndarray
    late: np.ndarray
    bodies: Counter[tuple[int, bytes]] = field(default_factory=Counter)
    wall: float = 0.0


class _Connection:
    """One request at a time."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.socket = socket.create_connection(address, timeout=1.0)
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.request = -1  # that waits for its answer; -1 where none does
        self.received = b""
        self.length = -1  # of the answer, once its head is here
        self.closes = False  # after this answer, as the server says
        self.closed = False

    def send(self, request: int, data: bytes) -> None:
        """Small enough for the socket's buffer.

        Raises:
            OSError: where the connection has ended.
        """
        self.request, self.received, self.length = request, b"", -1
        self.socket.sendall(data)

    def receive(self) -> tuple[int, bytes] | None:
        """Status and body once they are complete.

        Raises:
            OSError: where the connection has ended.
        """
        data = self.socket.recv(1 << 16)
        if not data:
            raise ConnectionResetError
        self.received += data
        if self.length < 0:
            end = self.received.find(b"\r\n\r\n")
            if end < 0:
                return None
            head = self.received[:end].lower() + b"\r\n"
            start = head.find(b"content-length:")
            size = int(head[start + 15 : head.index(b"\r\n", start)]) if start >= 0 else 0
            self.length, self.body = end + 4 + size, end + 4
            self.closes = b"connection: close" in head
        if len(self.received) < self.length:
            return None
        return int(self.received[9:12]), self.received[self.body :]


class _Run:
    """One load, as it goes."""

    def __init__(
        self,
        address: tuple[str, int],
        requests: Sequence[bytes],
        times: np.ndarray,
        most_connections: int,
        events: Sequence[tuple[float, Callable[[], None]]],
    ) -> None:
        count = len(times)
        self.address, self.requests, self.most_connections = address, requests, most_connections
        self.times, self.events = times.tolist(), deque(events)
        self.outcome = Outcome(np.full(count, LOST), np.zeros(count), np.zeros(count))
        self.poller = select.epoll()
        self.connections: dict[int, _Connection] = {}  # by descriptor
        self.idle: list[_Connection] = []  # some of them, and such as were closed meanwhile
        self.waiting: deque[int] = deque()
        self.missing = count

    def go(self) -> Outcome:
        self.start = time.perf_counter()
        arrived, last = 0, 0.0
        while self.missing:
            now = time.perf_counter() - self.start
            while self.events and self.events[0][0] <= now:
                self.events.popleft()[1]()
            while arrived < len(self.times) and self.times[arrived] <= now:
                self.waiting.append(arrived)
                arrived, last = arrived + 1, now
            while self.waiting and self.send(self.waiting[0]):
                self.waiting.popleft()
            if now > last + PATIENCE:
                break
            due = [self.times[arrived]] if arrived < len(self.times) else []
            due += [self.events[0][0]] if self.events else []
            wait = max(0.0, min([*due, now + 1.0]) - (time.perf_counter() - self.start))
            if select.select([self.poller], [], [], wait)[0]:  # epoll itself counts in milliseconds
                last = time.perf_counter() - self.start
                for descriptor, _ in self.poller.poll(0):
                    self.receive(self.connections[descriptor])
        self.outcome.wall = last
        for connection in list(self.connections.values()):
            self.drop(connection)
        self.poller.close()
        return self.outcome

    def send(self, request: int) -> bool:
        """By a connection that is idle, or a new one; false where there may be no more."""
        while self.idle and self.idle[-1].closed:
            self.idle.pop()
        if not self.idle and len(self.connections) >= self.most_connections:
            return False
        try:
            connection = self.idle.pop() if self.idle else self.connect()
        except OSError:
            self.end(request, NOT_CONNECTED)
            return True
        self.outcome.late[request] = time.perf_counter() - self.start - self.times[request]
        try:
            connection.send(request, self.requests[request % len(self.requests)])
        except OSError:
            self.drop(connection)
            self.end(request, LOST)
        return True

    def connect(self) -> _Connection:
        connection = _Connection(self.address)
        self.connections[connection.socket.fileno()] = connection
        self.poller.register(connection.socket, select.EPOLLIN)
        return connection

    def receive(self, connection: _Connection) -> None:
        request = connection.request
        try:
            answer = connection.receive()
        except BlockingIOError:
            return
        except OSError:
            self.drop(connection)
            if request >= 0:
                self.end(request, LOST)
            return
        if answer is None:
            return
        status, body = answer
        self.end(request, status)
        if status == 200:
            self.outcome.bodies[request % len(self.requests), body] += 1
        connection.request = -1
        if connection.closes:
            self.drop(connection)
        else:
            self.idle.append(connection)

    def end(self, request: int, status: int) -> None:
        self.outcome.statuses[request] = status
        self.outcome.seconds[request] = time.perf_counter() - self.start - self.times[request]
        self.missing -= 1

    def drop(self, connection: _Connection) -> None:
        del self.connections[connection.socket.fileno()]
        self.poller.unregister(connection.socket)
        connection.socket.close()
        connection.closed = True


def run(
    address: tuple[str, int],
    requests: Sequence[bytes],
    times: np.ndarray,
    most_connections: int = 64,
    events: Sequence[tuple[float, Callable[[], None]]] = (),
) -> Outcome:
    """Send requests when it is time, however many answers are missing.

    Args:
        address: host and port.
        requests: whole HTTP requests, from the first again after the last.
        times: seconds from the start at which each arrives, rising, float64 (arrivals,).
        most_connections: that are open at once; what arrives while all are busy waits for one.
        events: called when it is their time, in this thread: they must be quick.
    """
    gc.collect()
    gc.disable()
    try:
        return _Run(address, requests, times, most_connections, events).go()
    finally:
        gc.enable()


def arrival_times(rate: float, seconds: float, seed: int = 0) -> np.ndarray:
    """Of a Poisson process: so many a second, float64 (arrivals,)."""
    return np.sort(np.random.default_rng(seed).uniform(0, seconds, round(rate * seconds)))


def post(path: str, body: bytes) -> bytes:
    """A whole request with a JSON body."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: load\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body
