"""Methods that count instead of being trained: what every network must beat."""

from __future__ import annotations

from tagnn_fast.baselines.baseline import Baseline
from tagnn_fast.baselines.item_item import (
    AssociationRules,
    ItemKNN,
    Popularity,
    SequentialRules,
    SessionPopularity,
)
from tagnn_fast.baselines.neighbours import STAN, VMISKNN, VSKNN, VSTAN
from tagnn_fast.baselines.slist import SLIST

BASELINES: dict[str, type[Baseline]] = {
    "popularity": Popularity,
    "session_popularity": SessionPopularity,
    "sequential_rules": SequentialRules,
    "association_rules": AssociationRules,
    "item_knn": ItemKNN,
    "vs_knn": VSKNN,
    "vmis_knn": VMISKNN,
    "stan": STAN,
    "vstan": VSTAN,
    "slist": SLIST,
}
