"""Training in two processes: as in one, through kills, Ctrl-C and another number of processes; or refused."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tagnn_fast.data import synthetic_dataset, write_dataset
from tagnn_fast.nn import SRGNN
from tagnn_fast.nn.architectures import ARCHITECTURES
from tagnn_fast.observer import Observer
from tagnn_fast.parallel.layout import find_layout
from tagnn_fast.parallel.processes import LostProcessError
from tagnn_fast.runs.checkpoints import list_checkpoints
from tagnn_fast.training.fit import fit
from tagnn_fast.training.stopping import Interrupted
from tests.cli.commands import ENVIRONMENT, finish, read, refused, start, succeed, wait_until

# Without dropout, which each number of processes draws in its own way.
OPTIONS: dict[str, Any] = {"hidden_size": 8, "batch_size": 31, "epochs": 3, "accelerator": "cpu"}
OPTIONS |= {"item_dropout": 0.0, "attention_dropout": 0.0}
ARGUMENTS = [argument for name, value in OPTIONS.items() for argument in (f"--{name.replace('_', '-')}", value)]
GOES_ON = "the training goes on from its newest checkpoint by --resume, or the same call, with any number of processes"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("parallel") / "data"
    write_dataset(synthetic_dataset(900, 200), folder)
    return folder


@pytest.fixture(scope="module")
def in_one(data: Path) -> Path:
    """What one process makes of it."""
    return fit(data, data.parent / "in_one", **OPTIONS, observer=Observer()).folder


def started_by(process: int) -> list[int]:
    """Processes of a training that this one has started."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == process and b"tagnn_fast.training.following" in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
        except (OSError, ValueError, IndexError):
            continue
    return found


def assert_same(actual: Path, expected: Path) -> None:
    """Losses and weights but for rounding, and figures."""
    assert read(actual / "result.json")["test"] == pytest.approx(read(expected / "result.json")["test"])
    histories = [read(folder / "history.json") for folder in (actual, expected)]
    for record, wanted in zip(*histories, strict=True):
        assert record["training_loss"] == pytest.approx(wanted["training_loss"], abs=1e-5)
        assert record.get("validation") == pytest.approx(wanted.get("validation"))
    weights, wanted_weights = (load_file(folder / "model.safetensors") for folder in (actual, expected))
    torch.testing.assert_close(weights, wanted_weights, rtol=0, atol=1e-5)


class At(Observer):
    """Does something at a step of an epoch."""

    def __init__(self, epoch: str, step: int, what: Any) -> None:
        self.epoch, self.step, self.what, self.left = epoch, step, what, -1

    def begin(self, what: str, examples: int, done: int = 0) -> None:
        self.left = self.step if what == self.epoch else -1

    def advance(self, examples: int, loss: float | None = None) -> None:
        self.left -= 1
        if self.left == 0:
            self.what()


def test_killed_stopped_and_gone_on_with(data: Path, in_one: Path, tmp_path: Path) -> None:
    """The other process is killed; two go on and are stopped by Ctrl-C; one goes on to the end."""
    folder, threads = tmp_path / "run", torch.get_num_threads()

    def kill() -> None:
        (other,) = started_by(os.getpid())
        os.kill(other, signal.SIGKILL)

    with pytest.raises(LostProcessError) as lost:
        fit(data, folder, **OPTIONS, devices=2, observer=At("epoch 2", 5, kill))
    assert str(lost.value) == f"{folder}: lost rank 1 of 2 processes: ended by SIGKILL; {GOES_ON}"
    assert [path.name for path in list_checkpoints(folder / "checkpoints")] == ["epoch-001-step-000000"]
    assert (started_by(os.getpid()), torch.get_num_threads()) == ([], threads)
    stop = At("epoch 2", 7, lambda: signal.raise_signal(signal.SIGINT))
    with pytest.raises(Interrupted, match="stopped in epoch 2 after step 7; saved epoch-001-step-000007"):
        fit(data, folder, **OPTIONS, devices=2, observer=stop)
    assert started_by(os.getpid()) == []
    fit(data, folder, **OPTIONS, observer=Observer())
    assert_same(folder, in_one)


def test_first_process_is_killed(data: Path, in_one: Path, tmp_path: Path) -> None:
    """The other one says so and ends; the run goes on with one."""
    folder = tmp_path / "run"
    process = start("train", data, "--run", folder, *ARGUMENTS, "--devices", 2)
    wait_until(lambda: bool(list_checkpoints(folder / "checkpoints")), process)
    others = started_by(process.pid)
    process.kill()
    outcome = finish(process)  # when all are gone that could write there
    assert len(others) == 1
    assert not Path(f"/proc/{others[0]}").exists() or "Z" in Path(f"/proc/{others[0]}/stat").read_text()
    assert outcome.returncode == -signal.SIGKILL
    assert outcome.stderr == f"error: lost rank 0 of 2 processes; {GOES_ON}\n"
    succeed("train", "--resume", folder)
    assert_same(folder, in_one)


def test_group_of_one(data: Path, in_one: Path, tmp_path: Path) -> None:
    fit(data, tmp_path / "run", **OPTIONS, strategy="ddp", observer=Observer())
    assert_same(tmp_path / "run", in_one)
    assert not torch.distributed.is_initialized()


def test_torchrun(data: Path, in_one: Path, tmp_path: Path) -> None:
    """It says how many; each runs the command, and the first one tells the loggers."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"]
    # Without the dashes it takes --run for its own --run-path.
    command += ["--", "tagnn_fast.cli", "train", data, "--run", tmp_path / "run", *ARGUMENTS, "--logger", "csv"]
    environment = {**os.environ, **ENVIRONMENT, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("wrote ") == 1
    assert_same(tmp_path / "run", in_one)
    told = (tmp_path / "run" / "csv" / "metrics.csv").read_text().splitlines()
    assert len(told) == 1 + len(read(tmp_path / "run" / "history.json")) + 1  # below its header, and the test's figures


SCRIPT = """
import os
import sys
import time
from tagnn_fast import fit
from tagnn_fast.observer import Observer

data, folder, *several = sys.argv[1:]
layout = {"devices": 2, "num_nodes": 2} if several else {}
for seed in range(3):
    run = fit(data, f"{folder}/{seed}", "clean", architecture="sr_gnn", hidden_size=4, epochs=1, protocol="all",
              accelerator="cpu", seed=seed, observer=Observer(), **layout)
    print("ended" if run.result["test"] else "not yet", flush=True)
    if seed == int(os.environ["NODE_RANK" if several else "RANK"]):
        time.sleep(3)
"""


def test_a_script_of_torchrun_with_several_trainings(data: Path, tmp_path: Path) -> None:
    """Each has a group of its own, whichever process comes to it first, and ends for all with the run written."""
    (tmp_path / "script.py").write_text(SCRIPT)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += [str(tmp_path / "script.py"), str(data), str(tmp_path)]
    environment = {**os.environ, **ENVIRONMENT, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("ended") == 6


def test_a_script_on_two_machines_with_several_trainings(data: Path, tmp_path: Path) -> None:
    """The same without torchrun: every group meets at the one port that was given."""
    (tmp_path / "script.py").write_text(SCRIPT)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    general = {
        **os.environ,
        **ENVIRONMENT,
        "OMP_NUM_THREADS": "1",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": f"{port}",
    }
    command = [sys.executable, str(tmp_path / "script.py"), str(data), str(tmp_path), "several"]
    machines = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**general, "NODE_RANK": str(node)})
        for node in range(2)
    ]
    said = [machine.communicate(timeout=300)[0] for machine in machines]
    assert [machine.returncode for machine in machines] == [0, 0]
    assert [one.count("ended") for one in said] == [3, 3]


def test_other_nodes_of_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it has started is what there is; another number is refused."""
    names = {"LOCAL_WORLD_SIZE": 4, "GROUP_WORLD_SIZE": 2, "RANK": 6, "LOCAL_RANK": 2, "WORLD_SIZE": 8}
    for name, value in {**names, "TORCHELASTIC_RUN_ID": "x"}.items():
        monkeypatch.setenv(name, str(value))
    layout = find_layout()
    assert (layout.processes.rank, layout.processes.count, layout.processes.local_rank) == (6, 8, 2)
    assert find_layout(4, 2, "ddp").processes == layout.processes
    with pytest.raises(ValueError, match="devices: expected 4, as torchrun has it, got 2"):
        find_layout(2)
    with pytest.raises(ValueError, match="num_nodes: expected 2, as torchrun has it, got 1"):
        find_layout(num_nodes=1)


def test_other_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without torchrun, the environment says which one this is."""
    for name in ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ValueError, match="num_nodes: expected MASTER_ADDR, MASTER_PORT, NODE_RANK in the environment"):
        find_layout(2, 2)
    monkeypatch.setenv("MASTER_ADDR", "10.0.0.1")
    monkeypatch.setenv("MASTER_PORT", "x")
    monkeypatch.setenv("NODE_RANK", "1")
    with pytest.raises(ValueError, match="MASTER_PORT: expected an integer in the environment, got 'x'"):
        find_layout(2, 2)
    monkeypatch.setenv("MASTER_PORT", "0")
    with pytest.raises(ValueError, match="MASTER_PORT: expected 1 or more, got 0"):
        find_layout(2, 2)
    monkeypatch.setenv("MASTER_PORT", "12345")
    layout = find_layout(2, 2)
    assert (layout.processes.rank, layout.processes.count, layout.address, layout.port) == (2, 4, "10.0.0.1", 12345)
    monkeypatch.setenv("NODE_RANK", "2")
    with pytest.raises(ValueError, match="NODE_RANK: expected less than 2, got 2"):
        find_layout(2, 2)


def test_torchrun_of_another_command(in_one: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    monkeypatch.setenv("WORLD_SIZE", "2")
    message = "evaluate: expected one process, got 2 of torchrun, whose work only train and serve share"
    assert refused("evaluate", in_one) == message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--devices", 0), "devices: expected 1 or more, got 0"),
        (("--num-nodes", 0), "num_nodes: expected 1 or more, got 0"),
        (("--strategy", "fsdp"), "strategy: expected one of auto, ddp, sharded, got 'fsdp'"),
        (
            ("--devices", 2, "--architecture", "item_knn"),
            "devices: expected 1 with item_knn, which counts in one process, got 2",
        ),
    ],
)
def test_refused(arguments: tuple[object, ...], message: str, data: Path, tmp_path: Path) -> None:
    """Nothing is written, nobody is started."""
    assert refused("train", data, "--run", tmp_path / "run", *arguments) == message
    assert list(tmp_path.iterdir()) == []


def test_own_architecture(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes that are started know of none."""
    monkeypatch.setitem(ARCHITECTURES, "own", SRGNN)
    with pytest.raises(ValueError, match="devices: expected 1 with own, an architecture that processes started from"):
        fit(data, tmp_path / "run", architecture="own", devices=2)
    assert list(tmp_path.iterdir()) == []
