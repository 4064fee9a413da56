"""A service that loads and tries its models, and then forks its workers."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.serving.folders import make_export

PRELOAD = """
import os, signal, sys
import tagnn_fast, torch
torch.set_num_threads(2)
models = [tagnn_fast.load(sys.argv[1], format) for format in ("torchscript", "program", "compiled")]
sessions = [[13 + 10 * (start * step % 900) for step in range(1, 40)] for start in range(1, 200)]
def answer(model):
    signal.alarm(60)  # a deadlock ends by itself
    return model.recommend(sessions, 20)
expected = [answer(model) for model in models]
workers = []
for _ in range(2):
    workers.append(os.fork())
    if workers[-1] == 0:
        os._exit(0 if [answer(model) for model in models] == expected else 1)
assert [answer(model) for model in models] == expected
assert [os.waitpid(worker, 0)[1] for worker in workers] == [0, 0]
"""


def test_workers_answer_as_their_parent() -> None:
    command = [sys.executable, "-W", "ignore", "-c", PRELOAD, str(make_export())]
    environment = os.environ | {"OMP_NUM_THREADS": "2"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")
