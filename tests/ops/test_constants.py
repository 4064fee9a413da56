"""Numbers of csrc/constants.h that the definition, tagnn_fast/ops/reference.py, has again."""

from __future__ import annotations

import math
import re
from ast import literal_eval

import torch

from tagnn_fast.ops import reference
from tests.support import ROOT

HEADER = ROOT / "csrc" / "constants.h"
LOW = 0xFFFFFFFF


def constants() -> dict[str, float]:
    declarations = re.findall(r"^constexpr \w+ (.+);", HEADER.read_text(), re.MULTILINE)
    pairs = [pair.split(" = ") for declaration in declarations for pair in declaration.split(", ")]
    return {name: literal_eval(value.removesuffix(".f")) for name, value in pairs}


VALUES = constants()


def philox(seed: int, counters: list[int]) -> list[int]:
    c0, c1, c2, c3 = counters
    key0, key1 = seed & LOW, seed >> 32
    for _ in range(int(VALUES["kPhiloxRounds"])):
        product0, product1 = c0 * int(VALUES["kPhiloxMultiplier0"]), c2 * int(VALUES["kPhiloxMultiplier1"])
        c0, c1, c2, c3 = product1 >> 32 ^ c1 ^ key0, product1 & LOW, product0 >> 32 ^ c3 ^ key1, product0 & LOW
        key0, key1 = key0 + int(VALUES["kPhiloxKey0"]) & LOW, key1 + int(VALUES["kPhiloxKey1"]) & LOW
    return [c0, c1, c2, c3]


def test_philox() -> None:
    counters = torch.randint(0, LOW + 1, (4, 50))
    seed = 0x0123456789ABCDEF
    words = torch.stack(reference.philox(torch.tensor(seed), tuple(counters)))
    assert words.t().tolist() == [philox(seed, counter) for counter in counters.t().tolist()]


def test_dropped_weights() -> None:
    slots, rate = 40, 0.3
    factors = reference.dropout_factors(torch.tensor([0, slots]), slots, 1, rate, torch.tensor([7]))[0]
    for query in range(slots):
        words = [word for key in range(0, slots, 4) for word in philox(7, [query, key // 4, 0, 0])]
        assert (factors[query] == 0).tolist() == [word < int(rate * VALUES["kRandomWords"]) for word in words]


def test_layer_norm() -> None:
    rows = torch.randn(3, 8, dtype=torch.float64) * 1e-3  # variances that the constant is large beside
    assert torch.equal(torch.layer_norm(rows, [8]), torch.layer_norm(rows, [8], eps=VALUES["kNormEpsilon"]))


def test_skipped_clicks() -> None:
    graph = reference.session_graph(torch.tensor([0, 3]), torch.tensor([0, 2]))
    assert graph[5].tolist() == [VALUES["kNoSlot"], 0]


def test_exponents() -> None:
    assert VALUES["kLog2E"] == math.log2(math.e)
    smallest = VALUES["kSmallestExponent"]
    assert math.exp(smallest) >= torch.finfo(torch.float32).tiny > math.exp(smallest - 1)
