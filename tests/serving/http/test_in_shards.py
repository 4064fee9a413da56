"""A run that is served with its item table in shards: the answers of what is exported of it, over HTTP."""

from __future__ import annotations

import signal
import subprocess
import sys
from typing import Any

import pytest
import torch
from starlette.testclient import TestClient

import tagnn_fast
from tagnn_fast.runs.in_shards import WORKER
from tagnn_fast.runs.run import Run
from tagnn_fast.serving import app, served_in_shards
from tests.cli.commands import refused
from tests.serving.folders import make_run
from tests.serving.http.services import ask, exported
from tests.serving.http.test_server import process
from tests.support import ROOT

REQUESTS: list[dict[str, Any]] = [
    {"session": [13, 23], "k": 5},
    {"session": [], "k": 100},
    {"sessions": [[33, 13, -5], [99, 7], [10_003] * 3], "k": 20, "exclude_clicked": True},
    {"session": [43, 53, 43], "k": 7, "candidates": [63, 13, 3003, 4], "exclude": [13, 14]},
]


def named(request: dict[str, Any], strings: bool) -> dict[str, Any]:
    """A request with the ids of a model whose ids are strings."""
    if not strings:
        return request

    def name(ids: Any) -> Any:
        return [name(one) if isinstance(one, list) else f"item-{one}" for one in ids]

    fields = {"session", "sessions", "candidates", "exclude"}
    return {field: name(value) if field in fields else value for field, value in request.items()}


def assert_same(answer: Any, expected: Any) -> None:
    """All but the model's name and version, and rounding."""
    for one, wanted in zip(answer.get("results", [answer]), expected.get("results", [expected]), strict=True):
        assert one["scores"] == pytest.approx(wanted["scores"], rel=1e-5)
        for field in ("items", "answer", "skipped"):
            assert one[field] == wanted[field]


@pytest.mark.parametrize(("architecture", "strings"), [("tagnn_pp", False), ("sr_gnn", True)])
def test_answers(architecture: str, strings: bool) -> None:
    requests = [named(request, strings) for request in REQUESTS]
    with TestClient(app(exported(architecture, strings))) as client:
        expected = [client.post("/v1/recommend", json=request).json() for request in requests]
    run = make_run(architecture, strings=strings)
    with process(f"shop={run.folder}", "--devices", 2, "--drain", 0) as (started, port, logged):
        for request, wanted in zip(requests, expected, strict=True):
            status, answer = ask(port, body=request)
            assert status == 200, answer
            assert_same(answer, wanted)
        _, models = ask(port, "/v1/models")
        assert [(model["name"], model["can_explain"]) for model in models["models"]] == [("shop", False)]
        first = requests[0]["session"]
        status, refusal = ask(port, "/v1/explain", {"session": first, "items": first})
        assert (status, refusal["error"]["field"]) == (422, "model")
        started.send_signal(signal.SIGHUP)  # there is nothing new to load
        assert ask(port, body=requests[0])[0] == 200
        started.send_signal(signal.SIGTERM)
    assert (started.returncode, logged) == (0, [])


def test_lost_process() -> None:
    """It says so, is not ready any more, and ends: whoever started it may start it again."""
    with process(make_run().folder, "--devices", 2, "--drain", 1) as (started, port, logged):
        assert ask(port, "/ready")[0] == 200
        subprocess.run(["pkill", "-KILL", "-P", f"{started.pid}", "-f", WORKER], check=True)
        status, answer = ask(port, body=REQUESTS[0])
        assert (status, answer["error"]["message"]) == (503, "a process with a part of the model was lost")
        status, ready = ask(port, "/ready")
        assert (status, ready["draining"]) == (503, True)
    assert started.returncode == 1
    assert logged[-1].startswith("error: lost rank 1 of 2 processes: ended by SIGKILL; ")


def test_torchrun() -> None:
    """All of its processes run the same command; SIGTERM goes to all, and all end when the first has answered."""
    arguments = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    arguments += ["-m", "--", "tagnn_fast.cli", "serve", f"{make_run().folder}", "--devices", "2", "--port", "0"]
    started = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        assert started.stdout is not None
        line = "\n"
        while line and not line.startswith("serving at "):
            line = started.stdout.readline()
        status, answer = ask(int(line.rpartition(":")[2]), body=REQUESTS[0])
        assert status == 200
        expected = tagnn_fast.load(exported()).recommend([REQUESTS[0]["session"]], 5)
        assert answer["items"] == expected.items[0]
        started.send_signal(signal.SIGTERM)
        output, errors = started.communicate(timeout=60)
    finally:
        started.kill()
        started.wait()
    assert (output, "lost" in errors) == ("", False)


def test_in_an_application() -> None:
    """In Python, beside an exported folder's model."""
    with served_in_shards(make_run(), 2) as served:
        assert served is not None
        assert (served.format, served.can_explain) == ("shards", False)
        with pytest.raises(NotImplementedError, match="^scores: expected a model in one place, got item vectors in sh"):
            served.scores(torch.tensor([13]), torch.tensor([0, 1]))
        with TestClient(app({"shards": served, "whole": exported()}, split={"shards": 100, "whole": 0})) as client:
            answers = [
                client.post("/v1/recommend", json={**REQUESTS[2], "model": name}).json() for name in ("shards", "whole")
            ]
            assert client.post("/v1/recommend", json=REQUESTS[0]).json()["model"] == "shards"
    assert_same(*answers)
    with pytest.raises(ValueError, match="^folders: expected at least one model, by its name, got {}$"):
        app({})


def test_refused() -> None:
    run: Run = make_run()
    assert refused("serve", run.folder, exported(), "--devices", 2, "--port", 0) == (
        "devices: expected none but for one run, which has no formats, got 2 with 2 models"
    )
    assert refused("serve", run.folder, "--devices", 2, "--format", "program", "--port", 0) == (
        "devices: expected none but for one run, which has no formats, got 2 with format program"
    )
    assert refused("serve", run.folder, "--devices", 0, "--port", 0) == "devices: expected 1 or more, got 0"
    assert "expected a run" in refused("serve", exported(), "--devices", 2, "--port", 0)
    assert "expected one of tagnn_pp" in refused("serve", make_run("vs_knn").folder, "--devices", 2, "--port", 0)
