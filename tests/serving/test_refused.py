"""What is refused, or warned of, rather than answered wrongly: numbers that are not finite, and other versions."""

from __future__ import annotations

import errno
import json
import os
import re
import resource
import shutil
import sys
import warnings
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch._inductor.exc import InductorError

import tagnn_fast
from tagnn_fast import TAGNN, TAGNNPP, ModelConfig
from tagnn_fast.data import Vocabulary
from tagnn_fast.nn.session_model import SessionModel
from tagnn_fast.recommender import Recommender
from tagnn_fast.serving.export import ExportFormat
from tagnn_fast.serving.finite import NOT_FINITE
from tagnn_fast.serving.manifest import sha256
from tagnn_fast.serving.programs import compile_program
from tagnn_fast.serving.serving_model import ServingModel
from tests.cli.commands import run as run_command
from tests.serving.folders import assert_same_lists, eager, make_export, small_run
from tests.support import batch

ITEMS = 9


def small_model(kind: type[SessionModel] = TAGNNPP, semantics: str = "clean") -> SessionModel:
    torch.manual_seed(0)
    padded_length = 5 if semantics == "published" else None
    config = ModelConfig(ITEMS, hidden_size=8, semantics=semantics, padded_length=padded_length)
    return kind(config).eval()  # without dropout


def vocabulary(first: int = 10) -> Vocabulary:
    return Vocabulary(pa.array([first, *range(11, 10 + ITEMS)]), np.arange(ITEMS, 0, -1))


def serving_model(model: SessionModel, items: Vocabulary | None = None, bfloat16_table: bool = False) -> ServingModel:
    recommender = Recommender(model, items or vocabulary(), bfloat16_table)
    return ServingModel(recommender.ranker, recommender.vocabulary)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("name", ["item_embedding.weight", "target_projection.weight"])
def test_weights_that_are_not_finite_are_not_exported(name: str, value: float) -> None:
    model = small_model()
    parameter = model.get_parameter(name).detach()
    parameter[5, 2] = value
    with pytest.raises(ValueError, match=rf"^{name}: expected finite numbers, got .*(nan|inf) at \[5, 2\]$"):
        serving_model(model)


def test_rounding_to_infinity_is_not_exported() -> None:
    model = small_model()
    model.item_embedding.weight.detach()[3, 0] = torch.finfo(torch.float32).max
    serving_model(model)
    with pytest.raises(ValueError, match=r"^rounded_table: expected finite numbers, got inf at \[2, 0\]$"):
        serving_model(model, bfloat16_table=True)


def test_the_id_of_unknown_items_is_not_exported() -> None:
    with pytest.raises(ValueError, match=r"^item ids: expected integers above -9223372036854775808, got that one$"):
        serving_model(small_model(), vocabulary(first=-(2**63)))


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    return Path(shutil.copytree(make_export(), tmp_path / "copied"))


def change_manifest(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    change(manifest)
    (folder / "manifest.json").write_text(json.dumps(manifest))


def change_weights(folder: Path, format: str, change: Callable[[torch.Tensor], object]) -> None:
    """As if a diverged model had been exported."""
    name = {"torchscript": "model.ts", "program": "model.pt2"}[format]
    if format == "torchscript":
        model = torch.jit.load(folder / name)
        change(dict(model.named_parameters())["ranker.model.item_embedding.weight"].detach())
        torch.jit.save(model, folder / name)
    else:
        program = torch.export.load(folder / name)
        change(program.state_dict["model.ranker.model.item_embedding.weight"].detach())
        torch.export.save(program, folder / name)
    change_manifest(folder, lambda manifest: manifest["files"][name].update(sha256=sha256(folder / name)))


@pytest.mark.parametrize("format", ["torchscript", "program"])
def test_weights_that_are_not_finite_are_not_loaded(copied: Path, format: str) -> None:
    change_weights(copied, format, lambda weight: weight[7].fill_(torch.nan))
    with pytest.raises(ValueError, match=r"item_embedding.weight: expected finite numbers, got nan at \[7, 0\]$"):
        tagnn_fast.load(copied, format)


@pytest.mark.parametrize("format", ["torchscript", "program"])
def test_scores_that_are_not_finite_are_no_answer(copied: Path, format: str) -> None:
    """Finite weights whose scores overflow."""
    change_weights(copied, format, lambda weight: weight.mul_(1e30))
    served = tagnn_fast.load(copied, format)
    with pytest.raises(FloatingPointError, match="^scores: expected finite numbers, got NaN or infinity"):
        served.recommend([[13, 23]], 3)
    for call in (served.scores, lambda *inputs: served.explain(*inputs, torch.tensor([33]))):
        with pytest.raises(FloatingPointError, match="^scores: expected finite numbers"):
            call(*batch([[13, 23]]))
    if format == "torchscript":
        with pytest.raises(torch.jit.Error, match=NOT_FINITE):
            torch.jit.load(copied / "model.ts").recommend([[13, 23]], 3)


@pytest.mark.parametrize("kind", [TAGNNPP, TAGNN])
@pytest.mark.parametrize("semantics", ["clean", "published"])
def test_explain_where_all_logits_are_low(kind: type[SessionModel], semantics: str) -> None:
    """Below -88 exp gives 0 in float32, and above 88 infinity; the weights are those of float64."""
    model = small_model(kind, semantics)
    session, target = [1, 2, 1, 3], 9
    graph, encoded = model.graph(*batch([session]), None), model.encode(*batch([session]))
    keys = encoded.keys[graph.click_nodes].detach().double()  # (clicks, hidden)
    wanted = torch.full((len(session), 1), -200.0, dtype=torch.float64)
    # Without the directions in which the keys hardly differ, whose huge factors float32 cannot bear.
    low = torch.linalg.lstsq(keys, wanted, rcond=1e-2, driver="gelsd").solution[:, 0]
    low += 0.5 * torch.randn(8, dtype=torch.float64)
    model.item_embedding.weight.detach()[target] = low
    logits = keys @ model.item_embedding.weight[target].detach().double()
    assert float(logits.max()) < -100
    padding = torch.zeros(1 if semantics == "published" else 0, dtype=torch.float64)  # 5 positions, 4 of them clicks
    expected = torch.cat([logits, padding]).softmax(0)[: len(session)]
    serving = serving_model(model)
    weights = serving.explain(*batch([[9 + item for item in session]]), torch.tensor([9 + target]))
    assert torch.allclose(weights.double(), expected, rtol=1e-2, atol=1e-30)  # the logits' own rounding
    assert semantics == "published" or float(weights.sum()) == pytest.approx(1, abs=1e-6)


def test_versions(copied: Path) -> None:
    """A program that was compiled with another PyTorch is refused; anything else that is different is warned of."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        for format in ("torchscript", "compiled"):
            tagnn_fast.load(copied, format)
    made = json.loads((copied / "manifest.json").read_text())["versions"]
    for library, version in (("tagnn_fast", "0.0.1"), ("torch", "2.9.1"), ("ops", "0.1.0+cafe")):
        change_manifest(copied, lambda manifest: manifest.update(versions={**made, library: version}))  # noqa: B023
        shown = "2.9" if library == "torch" else version.replace("+", r"\+")
        with pytest.warns(UserWarning, match=rf"copied: was exported with {library} {shown}, this is .*may differ"):
            tagnn_fast.load(copied)
    change_manifest(copied, lambda manifest: manifest.update(versions={**made, "torch": "2.9.1"}))
    with pytest.raises(ValueError, match=r"model.aoti.pt2: expected PyTorch 2.9, which it was compiled with, got 2"):
        tagnn_fast.load(copied, "compiled")
    del made["ops"]  # in old exports
    change_manifest(copied, lambda manifest: manifest.update(versions=made))
    tagnn_fast.load(copied)


def test_without_a_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The formats that need none are written; the screen, the manifest and `load` say what is missing."""
    run, folder = small_run(), tmp_path / "exported"
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))
    outcome = run_command("export", run.folder, folder, "--formats", "compiled,program,torchscript")
    assert outcome.returncode == 0, outcome.stderr
    assert "without model.aoti.pt2: AOTInductor needs a C++ compiler: " in " ".join(outcome.stdout.split())
    assert "Traceback" not in outcome.stderr
    manifest = json.loads((folder / "manifest.json").read_text())
    assert list(manifest["missing"]) == ["model.aoti.pt2"]
    assert not (folder / "model.aoti.pt2").exists()
    with pytest.raises(ValueError, match="^format: expected one that was exported, got 'compiled': AOTInductor needs"):
        tagnn_fast.load(folder, "compiled")
    # Nine items, and lists of 20 asked for: all nine.
    raw, sessions = run.vocabulary.raw_ids.to_pylist(), [[11, 12, 11], [-5]]
    for format in ("torchscript", "program"):
        served = tagnn_fast.load(folder, format)
        for k in (9, 10, 20, 2**40):
            assert_same_lists(served.recommend(sessions, k), eager(run.recommender(), sessions, 9))
            assert sorted(served.recommend([[11, 12]], k, exclude_clicked=True).items[0]) == sorted({*raw} - {11, 12})


@pytest.mark.parametrize("format", ["torchscript", "program"])
def test_full_disk(format: ExportFormat, tmp_path: Path) -> None:
    """PyTorch's own writer of files would end the process."""
    run = small_run()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(OSError, match=os.strerror(errno.EFBIG)):
            tagnn_fast.export(run, tmp_path / "exported", formats=[format])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not (tmp_path / "exported").exists()


def test_what_is_no_export(tmp_path: Path) -> None:
    run = small_run()
    expected = f"{run.folder}: expected an exported folder with a manifest.json in it, got a run, which `export` makes"
    with pytest.raises(FileNotFoundError, match=re.escape(expected)):
        tagnn_fast.load(run.folder)
    for call in (lambda: tagnn_fast.load(None), lambda: tagnn_fast.export(run, None)):
        with pytest.raises(TypeError, match="^folder: expected .*, got None$"):
            call()


@pytest.mark.parametrize("wrapped", [False, True])
def test_full_disk_is_no_missing_compiler(wrapped: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def compile_and_package(*_: object, **__: object) -> None:
        raise InductorError(full, None) if wrapped else full

    monkeypatch.setattr("torch._inductor.aoti_compile_and_package", compile_and_package)
    with pytest.raises(OSError, match="No space left") as error:
        compile_program(None, BytesIO())
    assert error.value is full


@pytest.mark.parametrize(
    ("items", "offsets"),
    [
        ([10, 11], [0, 1]),
        ([10, 11], [1, 2]),
        ([10, 11], [0, 2, 1, 2]),
        ([10, 11], [0, 3]),
        ([10, 11], []),
        ([10, 11], [0.0, 2.0]),
        ([10.0, 11.0], [0, 2]),
        ([[10, 11]], [0, 2]),
    ],
)
def test_torchscript_alone_refuses_other_shapes(items: list[Any], offsets: list[Any]) -> None:
    """Without the package nobody looks at tensors before the model does."""
    model = torch.jit.script(serving_model(small_model()))
    arguments = torch.tensor(items), torch.tensor(offsets)
    targets = torch.zeros(max(len(offsets) - 1, 0), dtype=torch.int64)
    for call in (
        lambda: model.forward(*arguments, 3),
        lambda: model.scores(*arguments),
        lambda: model.explain(*arguments, targets),
    ):
        with pytest.raises(torch.jit.Error, match=r"expected (to rise from 0|int64 vectors)"):
            call()


def test_torchscript_alone_refuses_too_few_targets() -> None:
    model = torch.jit.script(serving_model(small_model()))
    with pytest.raises(torch.jit.Error, match="targets: expected one per session, 2, got 1"):
        model.explain(torch.tensor([10, 11]), torch.tensor([0, 1, 2]), torch.tensor([12]))
