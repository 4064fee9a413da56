"""Networks of one's own: what they must keep to, said when they are registered."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Optional

import pytest
import torch
from torch import Tensor, nn

from tagnn_fast.nn import SRGNN, TAGNN, TAGNNPP, AttentionEnhancedGNN, ModelConfig, SessionModel, register_architecture
from tagnn_fast.nn.architectures import ARCHITECTURES, find_architecture
from tagnn_fast.ops import EncodedSessions, encoded_without_nodes
from tagnn_fast.runs.configuration import TrainingConfig, make_model


class LastClick(SessionModel):
    """A session is its last click."""

    def __init__(self, config: ModelConfig, scale: float = 1.0) -> None:
        super().__init__(config)
        self.scale = scale
        self.reset_parameters()

    def encode(self, items: Tensor, offsets: Tensor, padded_length: Optional[int] = None) -> EncodedSessions:
        graph = self.graph(items, offsets, padded_length)
        last = graph.click_nodes.shape[0]
        nodes = torch.cat([self.item_embedding(graph.node_items), self.item_embedding.weight.new_zeros(1, 8)])
        slots = torch.where(graph.last_node < 0, last, graph.last_node)
        return encoded_without_nodes(self.scale * nodes[slots])


@pytest.fixture(autouse=True)
def _own_names() -> Iterator[None]:
    before = dict(ARCHITECTURES)
    yield
    ARCHITECTURES.clear()
    ARCHITECTURES.update(before)


@pytest.mark.parametrize("model_class", [TAGNNPP, AttentionEnhancedGNN, TAGNN, SRGNN, LastClick])
def test_register(model_class: type[SessionModel]) -> None:
    """What the package has keeps to what it asks; a name may be given again; no random number is drawn."""
    before = torch.get_rng_state()
    for _ in range(2):
        register_architecture("mine", model_class)
        assert find_architecture("mine") is model_class
    assert torch.equal(torch.get_rng_state(), before)


def test_options() -> None:
    """They reach the constructor; wrong ones are named."""
    register_architecture("mine", LastClick)
    config, training = ModelConfig(9, 8, options={"scale": 3.0}), TrainingConfig("mine")
    model = make_model(config, training)
    assert isinstance(model, LastClick)
    assert model.scale == 3.0
    with pytest.raises(ValueError, match="options: expected what mine takes .scale., got .*'scales'"):
        make_model(ModelConfig(9, 8, options={"scales": 3.0}), training)
    with pytest.raises(ValueError, match="options: expected what sr_gnn takes .none., got .*'scale'"):
        make_model(config, TrainingConfig("sr_gnn"))


def test_can_explain_is_kept_in_scripts() -> None:
    assert [torch.jit.script(model(ModelConfig(9, 8))).can_explain for model in (TAGNNPP, SRGNN)] == [True, False]


def test_unknown_name() -> None:
    with pytest.raises(
        ValueError, match="^architecture: expected one of tagnn_pp, tagnn, sr_gnn, attention_enhanced, got 'mine'$"
    ):
        find_architecture("mine")


@pytest.mark.parametrize("name", ["", 3, None])
def test_names_that_are_none(name: object) -> None:
    with pytest.raises(TypeError, match="^name: expected a string"):
        register_architecture(name, LastClick)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["tagnn_pp", "sr_gnn"])
def test_names_of_the_package(name: str) -> None:
    with pytest.raises(ValueError, match="^name: expected another than tagnn_pp, tagnn, sr_gnn"):
        register_architecture(name, LastClick)


@pytest.mark.parametrize("model_class", [nn.Linear, LastClick(ModelConfig(9, 8)), "LastClick"])
def test_other_classes(model_class: object) -> None:
    with pytest.raises(TypeError, match="^model_class: expected a subclass of SessionModel"):
        register_architecture("mine", model_class)  # type: ignore[arg-type]


def returning(encode: Callable[..., object]) -> type[SessionModel]:
    """A class with this encode, which gets the model, items and offsets."""
    return type("Wrong", (LastClick,), {"encode": lambda self, items, offsets, _: encode(self, items, offsets)})


def session_sums(model: SessionModel, items: Tensor, offsets: Tensor) -> Tensor:
    vectors = model.item_embedding(items).cumsum(0)
    return torch.cat([torch.zeros(1, 8), vectors])[offsets].diff(dim=0)


def mean_of_clicks(model: SessionModel, items: Tensor, offsets: Tensor) -> EncodedSessions:
    return encoded_without_nodes(session_sums(model, items, offsets) / offsets.diff().unsqueeze(1))


def sum_of_clicks(model: SessionModel, items: Tensor, offsets: Tensor) -> EncodedSessions:
    return encoded_without_nodes(session_sums(model, items, offsets))


def mean_of_the_batch(model: SessionModel, items: Tensor, offsets: Tensor) -> EncodedSessions:
    return encoded_without_nodes(LastClick.encode(model, items, offsets, None).session + items.double().mean())


class NeedsWidth(LastClick):
    def __init__(self, config: ModelConfig, width: int) -> None:
        super().__init__(config)


class HasIdleLayer(LastClick):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.idle = nn.Linear(2, 2)


class ExplainsWithoutNodes(LastClick):
    can_explain = True


class NotScripted(LastClick):
    def encode(self, items: Tensor, offsets: Tensor, padded_length: Optional[int] = None) -> EncodedSessions:
        return LastClick.encode(self, items, offsets, padded_length)  # TorchScript knows no unbound methods


@pytest.mark.parametrize(
    ("model_class", "message"),
    [
        (NeedsWidth, "expected NeedsWidth to be made of a ModelConfig alone, got .*width"),
        (returning(lambda model, items, offsets: items), "encode to give EncodedSessions, got Tensor"),
        (returning(mean_of_clicks), "finite scores .5, 9. to sessions that may be empty"),
        (returning(sum_of_clicks), "encode to skip clicks on item 0, got scores that differ by"),
        (returning(mean_of_the_batch), "encode to give a session what it gives it alone"),
        (HasIdleLayer, "each parameter that requires one, got another for idle.weight, idle.bias"),
        (ExplainsWithoutNodes, "expected ExplainsWithoutNodes, which can_explain, to have keys in the slots"),
        (NotScripted, "expected NotScripted to be scripted by TorchScript, got"),
    ],
)
def test_what_is_tried(model_class: type[SessionModel], message: str) -> None:
    with pytest.raises(ValueError, match=f"^model_class: .*{message}"):
        register_architecture("mine", model_class)
    assert "mine" not in ARCHITECTURES


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        (
            SRGNN,
            {"cosine_scale": 12.0, "learned_share": True},
            "learned_share: expected none with .*, got True",
        ),
        (
            SRGNN,
            {"cosine_scale": 12.0, "session_share": 0.9},
            "session_share: expected none with a network .*, got 0.9",
        ),
        (AttentionEnhancedGNN, {"hybrid": True}, "hybrid: expected none with a network that does not use it, got True"),
    ],
)
def test_options_that_would_do_nothing(model: type[SessionModel], options: dict[str, Any], message: str) -> None:
    """Are refused where a network is made by hand, too."""
    with pytest.raises(ValueError, match=message):
        model(ModelConfig(5, hidden_size=6, **options))
