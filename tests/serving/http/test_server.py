"""`tagnn-fast serve` as a process, and its connections: ended by signals, and by clients that keep them."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

import tagnn_fast
from tagnn_fast.serving.http import server
from tests.cli.commands import refused, start
from tests.serving.http.services import ask, exported, until

SESSION: dict[str, Any] = {"session": [13, 23], "k": 5}
# The service was measured with 10,000.
CONNECTIONS = int(os.environ.get("TAGNN_FAST_SERVICE_CONNECTIONS", "500"))


@contextmanager
def process(*arguments: object) -> Iterator[tuple[subprocess.Popen[str], int, list[str]]]:
    """The command, the port it answers at, and the lines that it logs, all of them once it has ended."""
    started = start("serve", "--port", 0, *arguments)
    lines: list[str] = []
    # A pipe that nobody empties would stop whoever logs.
    reader = threading.Thread(target=lambda: lines.extend(started.stderr), daemon=True)
    reader.start()
    try:
        assert started.stdout is not None
        line = "\n"
        while line and not line.startswith("serving at http://127.0.0.1:"):
            line = started.stdout.readline()
        assert line, lines
        yield started, int(line.rpartition(":")[2]), lines
        started.wait(60)
        reader.join(60)
    finally:
        started.kill()
        started.wait()


class Client(threading.Thread):
    """Asks without a pause, until nobody listens any more."""

    def __init__(self, port: int, headers: dict[str, str]) -> None:
        super().__init__()
        self.port, self.headers = port, headers
        self.answers: list[tuple[int, Any]] = []
        self.lost: list[BaseException] = []

    def run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        while True:
            try:
                if connection.sock is None:
                    connection.connect()
            except ConnectionError:
                return
            try:
                connection.request("POST", "/v1/recommend", json.dumps(SESSION), self.headers)
                answer = connection.getresponse()
                self.answers.append((answer.status, json.loads(answer.read())))
            except BaseException as error:
                self.lost.append(error)
                return


def test_process(tmp_path: Path) -> None:
    """A token that nobody sees, SIGHUP, JSON logs; and SIGTERM under load loses no request and ends with status 0."""
    token = tmp_path / "token"
    token.write_text("secret\n", encoding="utf-8")
    bearer = {"Authorization": "Bearer secret"}
    expected = tagnn_fast.load(exported()).recommend([SESSION["session"]], 5)
    folder = f"shop={exported()}"
    with process(folder, "--token-file", token, "--json-logs", "--drain", 0.5) as (started, port, logged):
        assert ask(port, body=SESSION)[0] == 401
        assert ask(port, "/live") == (200, {"live": True})
        started.send_signal(signal.SIGHUP)
        clients = [Client(port, bearer) for _ in range(4)]
        for client in clients:
            client.start()
        until(lambda: all(len(client.answers) > 20 for client in clients))
        started.send_signal(signal.SIGTERM)
        statuses = set[tuple[int, bool]]()
        with suppress(ConnectionError):
            while True:
                status, ready = ask(port, "/ready")
                statuses.add((status, ready["draining"]))
        for client in clients:
            client.join(60)
    assert started.returncode == 0
    assert [client.lost for client in clients] == [[]] * 4
    for status, answer in (answer for client in clients for answer in client.answers):
        assert (status, answer["model"]) == (200, "shop")
        assert answer["items"] == expected.items[0]
        assert answer["scores"] == pytest.approx(expected.scores[0], rel=1e-5)
    assert (503, True) in statuses
    assert statuses <= {(503, True), (200, False)}
    lines = [json.loads(line) for line in logged]
    assert any(line["message"].startswith("shop: version ") for line in lines)  # SIGHUP
    answered = sum(len(client.answers) for client in clients)
    assert sum(line.get("route") == "/v1/recommend" and line["status"] == 200 for line in lines) == answered
    assert "secret" not in str(logged)


def test_new_connections_and_a_kill() -> None:
    """A connection for each request, others left in the midst; SIGKILL under load, and on at the same port."""
    expected = tagnn_fast.load(exported()).recommend([SESSION["session"]], 5)

    def check(port: int) -> None:
        status, answer = ask(port, body=SESSION)
        assert (status, answer["items"]) == (200, expected.items[0])
        assert answer["scores"] == pytest.approx(expected.scores[0], rel=1e-5)

    with process(exported()) as (started, port, _):
        descriptors = Path(f"/proc/{started.pid}/fd")
        check(port)
        before = len(list(descriptors.iterdir()))
        for number in range(CONNECTIONS):
            if number % 4 == 0:
                with socket.create_connection(("127.0.0.1", port), timeout=60) as left:
                    left.sendall(b"POST /v1/recommend HTTP/1.1\r\nContent-Length: 30\r\n\r\n{"[: number % 60])
            check(port)
        until(lambda: len(list(descriptors.iterdir())) <= before)
        clients = [Client(port, {}) for _ in range(4)]
        for client in clients:
            client.start()
        until(lambda: all(len(client.answers) > 20 for client in clients))
        started.kill()
        for client in clients:
            client.join(60)
    assert all(
        (status, answer["items"]) == (200, expected.items[0]) for one in clients for status, answer in one.answers
    )
    with process(exported(), "--port", port) as (started, again, _):
        assert again == port
        check(port)
        started.terminate()


def test_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line each, before anything is served."""
    folder = exported()
    with server.listen("127.0.0.1", 0) as taken:
        taken.listen()
        port = taken.getsockname()[1]
        message = f"127.0.0.1:{port}: expected an address to listen at: Address already in use"
        assert refused("serve", folder, "--port", port) == message
    assert refused("serve", tmp_path / "nothing", "--port", 0).endswith("with a manifest.json in it")
    for options, message in (
        (("--split", "a"), "split: expected NAME=PERCENT,... with each name once, got 'a'"),
        (("--split", "a=x"), "split: expected NAME=PERCENT,... with each name once, got 'a=x'"),
        (("--split", "a=50,a=50"), "split: expected NAME=PERCENT,... with each name once, got 'a=50,a=50'"),
        (("--split", "a=50,b=50"), "split: expected names of models, tagnn_pp, got 'a'"),
        (("--queue", 10), "queue: expected room for the largest request, 256, got 10"),
        (("--threads", 0), "threads: expected 1 or more, got 0"),
        (("--timeout", "inf"), "timeout: expected seconds above 0, got inf"),
        (("--drain", "nan"), "drain: expected seconds, 0 or more, got nan"),
        (("--port", 99_999), "port: expected 0..65535, got 99999"),
        (("--drain", -1), "drain: expected seconds, 0 or more, got -1.0"),
    ):
        assert refused("serve", folder, "--port", 0, *options) == message
    (tmp_path / "token").write_text("secret", encoding="utf-8")
    monkeypatch.setenv("TAGNN_FAST_TOKEN", "other")
    message = "token-file: expected a file or TAGNN_FAST_TOKEN, got both"
    assert refused("serve", folder, "--port", 0, "--token-file", tmp_path / "token") == message
    monkeypatch.setenv("TAGNN_FAST_TOKEN", "")
    assert refused("serve", folder, "--port", 0) == "token: expected some characters, got none"
