"""An application that was made before its process forked, as gunicorn's --preload does."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.serving.http.services import exported

PRELOAD = """
import asyncio, os, signal, sys
import httpx, torch
from tagnn_fast.serving import app
torch.set_num_threads(2)
application = app(sys.argv[1])
async def answer():
    transport = httpx.ASGITransport(application)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        response = await client.post("/v1/recommend", json={"session": [13, 23]})
        assert response.status_code == 200, response.text
        found = await client.get("/v1/items", params={"q": "1"})
        assert found.status_code == 200, found.text
        return response.json()["items"]
if sys.argv[2] == "tried":
    asyncio.run(answer())
workers = []
for _ in range(2):
    workers.append(os.fork())
    if workers[-1] == 0:
        signal.alarm(60)  # a deadlock ends by itself
        os._exit(0 if len(asyncio.run(answer())) == 20 else 1)
assert [os.waitpid(worker, 0)[1] for worker in workers] == [0, 0]
"""


@pytest.mark.parametrize("before", ["made", "tried"])
def test_workers_answer(before: str) -> None:
    command = [sys.executable, "-W", "ignore", "-c", PRELOAD, str(exported()), before]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")
