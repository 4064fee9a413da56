"""A model repository for Triton Inference Server, from a folder that `tagnn-fast export` wrote.

    python examples/triton/make_repository.py exported triton

Written from Triton's documentation; not run against a server.
"""

from pathlib import Path
from typing import Annotated

import torch
import typer
from torch import Tensor, nn

import tagnn_fast

NAME = "tagnn_fast"


class TritonModel(nn.Module):
    """Lists of a fixed length: Triton hands over tensors only.

    Args:
        model: what answers, in TorchScript.
        has_strings: whether its item ids are strings; tensors then hold item indices.
        k: length of the lists.
    """

    def __init__(self, model: torch.jit.ScriptModule, has_strings: bool, k: int) -> None:
        super().__init__()
        self.model = model
        self.has_strings = has_strings
        self.k = k

    def forward(self, items: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Items, scores and status of each session's best; Triton counts in float32 or int32.

        Scores are float32, as the configuration says, whatever the model's are.
        """
        if self.has_strings:
            ids, scores, status = self.model.forward_indices(items.flatten(), offsets.flatten().long(), self.k)
        else:
            ids, scores, status = self.model(items.flatten(), offsets.flatten().long(), self.k)
        return ids, scores.float(), status


CONFIGURATION = """\
# Untested: written from the documentation of Triton Inference Server, never run against one.
#
#   LD_PRELOAD=libtagnn_fast_ops.so tritonserver --model-repository=triton
#
# The library is that of the exported folder, and needs the libtorch_cpu.so of Triton's PyTorch backend, 2.10 or newer,
# on LD_LIBRARY_PATH. A request is one session: {clicks}__0 holds its clicks, of any number. Triton joins requests into
# a batch, and says in OFFSETS__1 where each begins.
name: "{name}"
platform: "pytorch_libtorch"
max_batch_size: 64
dynamic_batching {{ max_queue_delay_microseconds: 500 }}
input [ {{ name: "{clicks}__0" data_type: TYPE_INT64 dims: [ -1 ] allow_ragged_batch: true }} ]
batch_input [
  {{
    kind: BATCH_ACCUMULATED_ELEMENT_COUNT_WITH_ZERO
    target_name: "OFFSETS__1"
    data_type: TYPE_INT32
    source_input: "{clicks}__0"
  }}
]
output [
  {{ name: "{answers}__0" data_type: TYPE_INT64 dims: [ {k} ] }},
  {{ name: "SCORES__1" data_type: TYPE_FP32 dims: [ {k} ] }},
  {{ name: "STATUS__2" data_type: TYPE_INT64 dims: [ 1 ] reshape {{ shape: [ ] }} }}
]
instance_group [ {{ kind: KIND_CPU count: 1 }} ]
parameters: {{ key: "INFERENCE_MODE" value: {{ string_value: "true" }} }}
"""


def main(
    exported: Annotated[Path, typer.Argument(help="Exported folder; a program: only one that you would run.")],
    repository: Annotated[Path, typer.Argument(help="Folder to make.")],
    k: Annotated[int, typer.Option("--k", "-k", min=1, help="Length of the lists, if there are so many items.")] = 20,
) -> None:
    """Write REPOSITORY/tagnn_fast with its configuration and the first version of the model."""
    manifest = tagnn_fast.load(exported).manifest  # checks the files, too
    if manifest["version"] < 3:  # others give scores before items
        raise typer.BadParameter(f"expected a folder of version 3, got {manifest['version']}: export it again")
    if "model.ts" not in manifest["files"]:
        raise typer.BadParameter(f"expected a folder with TorchScript, got one of {', '.join(manifest['files'])}")
    has_strings = manifest["item_ids"] == "strings"
    k = min(k, manifest["items"])
    version = repository / NAME / "1"
    version.mkdir(parents=True)
    model = torch.jit.load(str(exported / "model.ts"))
    torch.jit.save(torch.jit.script(TritonModel(model, has_strings, k)), str(version / "model.pt"))
    # Item indices have names of their own, so that a server refuses raw ids that are integers.
    names = ("ITEM_INDICES", "ITEM_INDICES") if has_strings else ("ITEMS", "ITEM_IDS")
    configuration = CONFIGURATION.format(name=NAME, k=k, clicks=names[0], answers=names[1])
    (repository / NAME / "config.pbtxt").write_text(configuration, encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
