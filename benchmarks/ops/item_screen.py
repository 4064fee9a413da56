"""Top-k of few sessions with the item screen and without: time, and the same lists over many sessions.

    python -m benchmarks.ops.item_screen FIGURES.json [--items 43097] [--sessions 10000]

Item vectors are trained, random, or built to defeat the bound. Trained ones: TAGNN++, d = 100, one pass over sessions
(Diginetica's for its 43,097 items; otherwise synthetic ones, a million clicks, whose items are strewn over a
catalogue of that size) in batches of 512, cross-entropy against the batch's targets and 4,096 items drawn anew each
time, Adam at 5e-3 on the rows that a batch touches. Sessions are prefixes of the same data. Built to defeat it: item
vectors that all but agree, so that their scores are closer to each other than int8 can tell; and ones with a unit a
thousand times as long as the others, which no session looks at. Times are medians of interleaved calls, and in
brackets the best; "read" is the sum over the float32 table.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Optional

import numpy as np
import torch
import typer
from torch import Tensor

from benchmarks.inputs import ITEMS, diginetica
from benchmarks.timing import machine_rates
from tagnn_fast import TAGNNPP, ModelConfig
from tagnn_fast.data import PrefixExamples, synthetic_dataset
from tagnn_fast.ops import EncodedSessions, item_screen, target_attention_cross_entropy, target_attention_topk

HIDDEN, K, NEGATIVES, BATCH = 100, 20, 4096, 512
VECTORS = ["trained", "random", "alike", "one long unit"]


class Catalogue:
    """A model of so many items, and prefixes of sessions on them."""

    def __init__(self, items: int, hidden: int, vectors: str, seed: int = 0) -> None:
        torch.manual_seed(seed)
        self.vectors = vectors
        self.items, self.model = items, TAGNNPP(ModelConfig(items, hidden_size=hidden)).eval()
        dataset = diginetica() if items == ITEMS else synthetic_dataset(1_000_000, items)
        self.examples = PrefixExamples(dataset.train)
        # Where each of the data set's items stands in the catalogue.
        self.places = torch.cat([torch.zeros(1, dtype=torch.int64), 1 + torch.randperm(items)])
        if vectors == "trained":
            self.train()
        self.table = self.model.item_embedding.weight[1:].detach().clone()
        if vectors == "alike":
            self.table = self.table[:1] + 1e-6 * self.table
        elif vectors == "one long unit":
            self.table[:, 0] *= 1000

    def batch(self, chosen: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        items, offsets, targets = self.examples.cut(chosen)
        return self.places[items], offsets, self.places[targets]

    def train(self) -> None:
        """One pass, of the vectors that each batch touches."""
        weight = self.model.item_embedding.weight.detach().clone()
        moments = torch.zeros_like(weight), torch.zeros_like(weight)
        others = [value for name, value in self.model.named_parameters() if not name.startswith("item_embedding")]
        optimizer = torch.optim.Adam(others, lr=1e-3)
        self.model.train()
        for step, chosen in enumerate(torch.randperm(len(self.examples)).split(BATCH), 1):
            items, offsets, targets = self.batch(chosen)
            negatives = torch.randint(1, self.items + 1, (NEGATIVES,))
            rows, places = torch.cat([torch.zeros(1).long(), items, targets, negatives]).unique(return_inverse=True)
            self.model.item_embedding.weight = torch.nn.Parameter(weight[rows])
            vectors = self.model.item_embedding.weight
            encoded = self.model.encode(places[1 : 1 + len(items)], offsets)
            wanted = places[1 + len(items) : 1 + len(items) + len(targets)]
            loss = target_attention_cross_entropy(encoded, vectors[1:], wanted - 1).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            assert vectors.grad is not None
            mean, square = (moment[rows] for moment in moments)
            mean = 0.9 * mean + 0.1 * vectors.grad
            square = 0.999 * square + 0.001 * vectors.grad**2
            moments[0][rows], moments[1][rows] = mean, square
            weight[rows] -= 5e-3 * mean / (1 - 0.9**step) / ((square / (1 - 0.999**step)).sqrt() + 1e-8)
            if step % 100 == 0:
                print(f"step {step}: loss {loss.item():.3f} over {len(rows)} items", flush=True)
        self.model.eval()
        self.model.item_embedding.weight = torch.nn.Parameter(weight)

    @torch.no_grad()
    def encoded(self, sessions: int, nodes: int | None = None, seed: int = 0) -> EncodedSessions:
        """Prefixes drawn from all, or from those with so many nodes."""
        generator = np.random.default_rng([seed, sessions])
        chosen = torch.from_numpy(generator.choice(len(self.examples), max(sessions, 5000 * sessions if nodes else 0)))
        items, offsets, _ = self.batch(chosen)
        if nodes is not None:
            parts = [part for part in items.tensor_split(offsets[1:-1]) if len(part.unique()) == nodes][:sessions]
            assert len(parts) == sessions
            items, offsets = torch.cat(parts), torch.tensor([0, *map(len, parts)]).cumsum(0)
        encoded = self.model.encode(items, offsets)
        if self.vectors == "one long unit":
            encoded.session[:, 0] = encoded.values[:, 0] = 0
        return encoded


def interleaved(calls: dict[str, Callable[[], object]], seconds: float) -> dict[str, tuple[float, float]]:
    """Median and least milliseconds of each."""
    for call in calls.values():
        call()
    times: dict[str, list[float]] = {name: [] for name in calls}
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times[next(iter(calls))]) < 5:
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            times[name].append(1e3 * (time.perf_counter() - start))
    return {name: (float(np.median(values)), min(values)) for name, values in times.items()}


def differing_lists(catalogue: Catalogue, screen: Tensor, sessions: int) -> int:
    """How many sessions get another list with the screen, each asked alone."""
    wrong = 0
    for first in range(0, sessions, 100):
        everyone = catalogue.encoded(100, seed=1 + first)
        for b in range(100):
            slots = slice(*everyone.slot_offsets[b : b + 2].tolist())
            alone = EncodedSessions(
                everyone.session[b : b + 1],
                *(value[slots] for value in (everyone.keys, everyone.values, everyone.click_counts)),
                everyone.padding[b : b + 1],
                everyone.slot_offsets[b : b + 2] - everyone.slot_offsets[b],
            )
            expected = target_attention_topk(alone, catalogue.table, K)
            actual = target_attention_topk(alone, catalogue.table, K, screen=screen)
            wrong += not all(torch.equal(*pair) for pair in zip(actual, expected, strict=True))
    return wrong


def times(catalogue: Catalogue, screen: Tensor, seconds: float) -> dict[str, dict[str, tuple[float, float]]]:
    """Of a session of so many nodes, and of batches of so many prefixes."""
    asked = {f"one session of {nodes}": catalogue.encoded(1, nodes) for nodes in (1, 4, 7, 20)}
    asked |= {f"{sessions} sessions": catalogue.encoded(sessions) for sessions in (2, 8, 32, 128, 512)}
    figures = {}
    for name, encoded in asked.items():
        calls: dict[str, Callable[[], object]] = {
            "plain": lambda e=encoded: target_attention_topk(e, catalogue.table, K),  # type: ignore[misc]
            "screen": lambda e=encoded: target_attention_topk(e, catalogue.table, K, screen=screen),  # type: ignore[misc]
            "read": catalogue.table.sum,
        }
        figures[name] = interleaved(calls, seconds)
        print(
            name, {call: f"{middle:.3f} ({least:.3f})" for call, (middle, least) in figures[name].items()}, flush=True
        )
    return figures


def main(
    figures: Annotated[Path, typer.Argument(help="JSON file to write.")],
    items: Annotated[Optional[list[int]], typer.Option(help="Sizes of the catalogue.")] = None,
    hidden: Annotated[int, typer.Option(help="Hidden units.")] = HIDDEN,
    vectors: Annotated[Optional[list[str]], typer.Option(help=f"Of {', '.join(VECTORS)}.")] = None,
    sessions: Annotated[int, typer.Option(help="Sessions whose lists are compared.")] = 10_000,
    seconds: Annotated[float, typer.Option(help="Of each measurement.")] = 5.0,
) -> None:
    """Measure, compare, and write what was found."""
    found = []
    for size in items or [ITEMS, 1_000_000]:
        for kind in vectors or VECTORS:
            catalogue = Catalogue(size, hidden, kind)
            start = time.perf_counter()
            screen = item_screen(catalogue.table)
            row = {"items": size, "hidden": hidden, "vectors": kind, "threads": torch.get_num_threads()}
            row |= {"seconds_to_make": time.perf_counter() - start, "bytes": screen.numel()}
            print(row, flush=True)
            row |= {"differing_lists": differing_lists(catalogue, screen, sessions), "of": sessions}
            print(f"{row['differing_lists']} of {sessions} lists differ", flush=True)
            found.append({**row, "milliseconds": times(catalogue, screen, seconds)})
            figures.write_text(json.dumps({"machine": machine_rates(), "rows": found}, indent=1), encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
