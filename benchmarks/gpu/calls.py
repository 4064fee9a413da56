"""What the ops are run on, on a GPU: a batch of real prefixes in a model, and what each op gets and costs in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from benchmarks.inputs import ITEMS, sample_batch, with_floats
from tagnn_fast import TAGNNPP, ModelConfig, ops
from tagnn_fast.ops.graph import EncodedSessions

HIDDEN = 100
BATCH = 512
PRECISIONS = {"float32": "highest", "tf32": "high", "bf16": "medium"}  # by torch.set_float32_matmul_precision
TOP = 20


@dataclass(frozen=True)
class Call:
    """One op on its inputs.

    Attributes:
        name: of the op.
        function: called with the module that implements it (ops or reference) and the tensors.
        tensors: inputs that may get gradients.
        multiply_adds: of the forward pass.
        bytes: that the forward pass must read and write.
        has_gradient: whether there is a backward pass.
    """

    name: str
    function: Callable[..., Any]
    tensors: Sequence[Tensor]
    multiply_adds: float
    bytes: float
    has_gradient: bool = True

    def double(self) -> Call:
        """The same in float64."""
        return replace(self, tensors=[value.double() for value in self.tensors])


def size_of(*values: Tensor) -> int:
    """Bytes of tensors."""
    return sum(value.numel() * value.element_size() for value in values)


def random_model(items: int = ITEMS) -> TAGNNPP:
    """A model with fresh random weights whose states and scores are not all near zero."""
    torch.seed()
    model = TAGNNPP(ModelConfig(items, hidden_size=HIDDEN)).cuda().eval()
    with torch.no_grad():
        model.item_embedding.weight.normal_(0, 0.3)
    return model


def trained_model(run: str) -> TAGNNPP:
    """A run's model."""
    from tagnn_fast.runs.run import open_run

    model = open_run(run).recommender("cuda").model
    if not isinstance(model, TAGNNPP):
        raise ValueError(f"{run}: expected a tagnn_pp run, got {type(model).__name__}")
    return model


@torch.no_grad()
def encode(model: TAGNNPP, sessions: int = BATCH) -> tuple[ops.SessionGraph, EncodedSessions, Tensor]:
    """Graphs of real prefixes, what target attention gets of them, and random targets."""
    items, offsets = sample_batch(sessions).to("cuda")
    items = (items - 1) % model.config.num_items + 1
    encoded = model.encode(items, offsets)
    targets = torch.randint(0, model.config.num_items, (sessions,), device="cuda")
    return model.graph(items, offsets, None), encoded, targets


def target_attention_work(encoded: EncodedSessions, items: int) -> float:
    """Multiply-adds of one pass over the catalogue: two products for each node, one for each session."""
    nodes = int((encoded.click_counts > 0).sum())
    return float((2 * nodes + encoded.session.shape[0]) * items * encoded.session.shape[1])


@torch.no_grad()
def encoder_calls(model: TAGNNPP, graph: ops.SessionGraph) -> list[Call]:
    """The ops that encode sessions, as the model calls them, with dropout."""
    gnn, transformer, readout = model.propagation, model.transformer, model.readout
    nodes = model.item_embedding(graph.node_items)
    after_gnn = gnn(nodes, graph)
    after_all = transformer(after_gnn, graph)
    gnn_weights = [gnn.state_weight, gnn.state_bias, gnn.message_bias, gnn.weight_ih, gnn.bias_ih]
    layers = transformer.qkv, transformer.projection, transformer.norm
    attention_weights = [value for layer in layers for value in (layer.weight, layer.bias)]
    readout_weights = [value for layer in (readout.query, readout.key) for value in (layer.weight, layer.bias)]
    readout_weights.append(readout.logit_weight)
    seed = torch.randint(1 << 62, (1,), device="cuda")
    squares = float(nodes.shape[0] * HIDDEN**2)  # multiply-adds of a (hidden, hidden) product with all slots

    def attend(module: Any, states: Tensor, *weights: Tensor) -> Tensor:
        return module.session_attention(states, graph, *weights, transformer.heads, True, 0.1, seed)  # type: ignore[no-any-return]

    def propagate(module: Any, states: Tensor, *weights: Tensor) -> Tensor:
        return module.gated_propagation(states, graph, *weights, 1)  # type: ignore[no-any-return]

    def read_out(module: Any, states: Tensor, *weights: Tensor) -> Any:
        return module.session_readout(states, graph, *weights, True)

    session_bytes = 2 * 4 * graph.num_nodes.shape[0] * HIDDEN
    return [
        Call("gated_propagation", propagate, [nodes, *gnn_weights], 11 * squares, 2 * size_of(nodes)),
        Call("session_attention", attend, [after_gnn, *attention_weights], 4 * squares, 2 * size_of(nodes)),
        Call("session_readout", read_out, [after_all, *readout_weights], squares, size_of(nodes) + session_bytes),
    ]


def target_attention_calls(encoded: EncodedSessions, table: Tensor, targets: Tensor) -> list[Call]:
    """The ops over the catalogue."""
    tensors = [*encoded[:3], table]
    work, read = target_attention_work(encoded, table.shape[0]), size_of(*encoded, table)
    scores = encoded.session.shape[0] * table.shape[0] * 4

    def score(module: Any, *values: Tensor) -> Tensor:
        return module.target_attention_scores(with_floats(encoded, *values[:3]), values[3])  # type: ignore[no-any-return]

    def best(module: Any, *values: Tensor) -> Tensor:
        return module.target_attention_topk(with_floats(encoded, *values[:3]), values[3], TOP)[0]  # type: ignore[no-any-return]

    def losses(module: Any, *values: Tensor) -> Tensor:
        return module.target_attention_cross_entropy(with_floats(encoded, *values[:3]), values[3], targets)  # type: ignore[no-any-return]

    return [
        Call("target_attention_scores", score, tensors, work, read + scores),
        Call("target_attention_topk", best, tensors, work, read, has_gradient=False),
        Call("target_attention_cross_entropy", losses, tensors, work, read),
    ]


def all_calls(model: TAGNNPP) -> list[Call]:
    """Every op with floating-point inputs."""
    graph, encoded, targets = encode(model)
    table = model.item_embedding.weight[1:].detach().clone()
    calls = encoder_calls(model, graph) + target_attention_calls(encoded, table, targets)
    return [replace(call, tensors=[value.detach() for value in call.tensors]) for call in calls]
