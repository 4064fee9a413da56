"""RecBole's session models, its trainer and its loader, on the examples of a data set of ours.

Nothing here is imported from RecBole before it is asked for: all else runs without it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from tagnn_fast.data import Dataset, PrefixExamples
from tagnn_fast.data.examples import ExampleBatch

SESSION, ITEM, PREFIX, LENGTH = "session_id", "item_id", "item_id_list", "item_length"  # fields, as RecBole calls them
MOST_CLICKS = 20  # of a prefix, the last ones: MAX_ITEM_LIST_LENGTH of RecBole's and RecBole-GNN's runs on Diginetica

# Published settings: the best of RecBole-GNN's search on Diginetica (its results/sequential/diginetica.md), and CORE's
# own props/core_trm.yaml. All else is RecBole 1.2.1's default: Adam, the loss over all items.
SETTINGS: dict[str, dict[str, Any]] = {
    "SRGNN": {"embedding_size": 64, "step": 1, "learning_rate": 0.001},
    "GCSAN": {"hidden_size": 64, "step": 1, "learning_rate": 0.001},
    "CORE": {"embedding_size": 100, "dnn_type": "trm", "learning_rate": 0.001},
    "GRU4Rec": {"embedding_size": 64, "hidden_size": 128, "num_layers": 1, "dropout_prob": 0.3, "learning_rate": 0.01},
    "SASRec": {
        "hidden_size": 64,
        "n_layers": 2,
        "hidden_dropout_prob": 0.2,
        "attn_dropout_prob": 0.2,
        "learning_rate": 0.001,
    },
}
BATCH_SIZE = 2048  # RecBole's default, that of its table of times on Diginetica, and CORE's


def item_size(model: str) -> int:
    """Length of an item's vector."""
    settings = SETTINGS[model]
    return int(settings["embedding_size"] if "embedding_size" in settings else settings["hidden_size"])


def padded_prefixes(batch: ExampleBatch, most_clicks: int = MOST_CLICKS) -> tuple[Tensor, Tensor]:
    """The last clicks of each prefix, then zeros, int64 (examples, most_clicks), and how many, int64 (examples,).

    Clicks on items without a row are left out, as all recommenders here do.
    """
    known = batch.items != 0
    items = batch.items[known]
    ends = torch.cat([known.new_zeros(1, dtype=torch.int64), known.cumsum(0)])[batch.offsets]
    lengths = ends.diff().clamp(max=most_clicks)
    place = torch.arange(most_clicks)
    exists = place < lengths.unsqueeze(1)  # (examples, most_clicks)
    from_place = (ends[1:] - lengths).unsqueeze(1) + place
    prefixes = torch.zeros(exists.shape, dtype=torch.int64)
    prefixes[exists] = items[from_place[exists]].long()
    return prefixes, lengths


def fields(examples: PrefixExamples) -> dict[str, Tensor]:
    """All examples as RecBole's sequential data sets have them once loaded: prefix, its length, target."""
    batch = examples.cut(torch.arange(len(examples)))
    prefixes, lengths = padded_prefixes(batch)
    return {PREFIX: prefixes, LENGTH: lengths, ITEM: batch.targets.long()}


class Examples:
    """What RecBole's loader and models ask of a data set."""

    uid_field, iid_field = SESSION, ITEM
    field2seqlen: ClassVar[dict[str, int]] = {PREFIX: MOST_CLICKS}

    def __init__(self, examples: PrefixExamples, num_items: int) -> None:
        from recbole.data.interaction import Interaction

        self._all = Interaction(fields(examples))
        self._num_items = num_items

    def num(self, field: str) -> int:
        """Item ids, padding's 0 among them."""
        if field != ITEM:
            raise ValueError(f"field: expected {ITEM}, got {field!r}")
        return self._num_items + 1

    def __len__(self) -> int:
        return len(self._all)

    def __getitem__(self, index: Any) -> Any:
        return self._all[index]


class RecBoleModel:
    """One of its models, which its own trainer trains on batches of its own loader.

    Works in the working directory, where RecBole leaves folders.

    Args:
        name: in SETTINGS.
        examples: what is trained on.
        dataset: that they are of.
        batch_size: examples of a step.
    """

    def __init__(self, name: str, examples: PrefixExamples, dataset: Dataset, batch_size: int) -> None:
        from recbole.config import Config
        from recbole.data.dataloader import TrainDataLoader
        from recbole.trainer import Trainer
        from recbole.utils import get_model, init_seed

        config = Config(
            name,
            dataset.name,
            config_dict={
                "gpu_id": "",
                "USER_ID_FIELD": SESSION,
                "MAX_ITEM_LIST_LENGTH": MOST_CLICKS,
                "train_batch_size": batch_size,
                "train_neg_sample_args": None,  # the loss is over all items
                **SETTINGS[name],
            },
        )
        init_seed(config["seed"], config["reproducibility"])
        converted = Examples(examples, len(dataset.vocabulary))
        self.module = get_model(name)(config, converted)
        self._trainer = Trainer(config, self.module)
        self._loader = TrainDataLoader(config, converted, None, shuffle=True)
        self._popular = torch.from_numpy(dataset.vocabulary.by_popularity())

    def batches(self, history: Sequence[Any]) -> Iterable[Any]:
        """Those of the epoch after these; RecBole's learning rate is one for all."""
        return self._loader

    def train(self, epoch: int, batches: Iterable[Any]) -> float:
        """Take a step on each; the sum of their losses."""
        return float(self._trainer._train_epoch(batches, epoch))

    @torch.inference_mode()
    def topk(self, batch: ExampleBatch, k: int) -> Tensor:
        """The best k items of each prefix, int64 (examples, k); the most popular ones where no click is known."""
        self.module.eval()
        prefixes, lengths = padded_prefixes(batch)
        scores = self.module.full_sort_predict({PREFIX: prefixes, LENGTH: lengths.clamp(min=1)})
        if not bool(scores.isfinite().all()):
            raise FloatingPointError("scores: expected finite numbers, got others")
        scores[:, 0] = -torch.inf
        items = scores.topk(k).indices
        items[lengths == 0] = self._popular[:k]
        return items
