"""A network of one's own, from its definition to a service: ``python examples/python/own_model.py FOLDER``.

A session's clicked items go through a perceptron instead of a graph network (the idea of STAMP, Liu et al., KDD 2018).
"""

import sys
from pathlib import Path
from typing import Optional

from torch import Tensor, nn

import tagnn_fast
from tagnn_fast.data import synthetic_dataset
from tagnn_fast.nn import SessionReadout
from tagnn_fast.ops import EncodedSessions, encoded_sessions


class Perceptron(tagnn_fast.SessionModel):
    """Perceptron on each clicked item → a vector per session, and attention that depends on the item being scored."""

    can_explain = True  # by the attention on the clicked items

    def __init__(self, config: tagnn_fast.ModelConfig, layers: int = 1) -> None:
        super().__init__(config)
        hidden = config.hidden_size
        parts = [part for _ in range(layers) for part in (nn.Linear(hidden, hidden), nn.Tanh())]
        self.perceptron = nn.Sequential(*parts)
        self.readout = SessionReadout(hidden, normalize=True, hybrid=True)
        self.target_projection = nn.Linear(hidden, hidden, bias=False)
        self.reset_parameters()

    def encode(self, items: Tensor, offsets: Tensor, padded_length: Optional[int] = None) -> EncodedSessions:
        """See the base class."""
        graph = self.graph(items, offsets, padded_length)  # one node for each item of a session
        nodes = self.perceptron(self.item_embedding(graph.node_items))  # (slots, hidden)
        session = self.readout(nodes, graph)  # (sessions, hidden)
        return encoded_sessions(session, self.target_projection(nodes), nodes, graph)


def main(folder: Path) -> None:
    """Train, evaluate, export and serve it, on made-up sessions."""
    tagnn_fast.register_architecture("perceptron", Perceptron)
    data = synthetic_dataset(clicks=3000, items=100)
    run = tagnn_fast.fit(
        data, folder / "run", architecture="perceptron", options={"layers": 2}, hidden_size=16, learning_rate=0.03
    )
    print(tagnn_fast.evaluate(run))
    tagnn_fast.export(run, folder / "exported", formats=["torchscript", "program", "compiled"])
    service = tagnn_fast.load(folder / "exported")  # which needs neither the class nor its name
    items, scores, _ = service.recommend([data.vocabulary.raw_ids[:3].to_pylist()], k=5)
    for item, score in zip(items[0], scores[0], strict=True):
        print(f"item {item}: {score:.3f}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
