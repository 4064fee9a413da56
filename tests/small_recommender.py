"""A model of thirty items that nobody trained, and what it recommends."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import torch

from tagnn_fast import SRGNN, TAGNN, TAGNNPP, ModelConfig
from tagnn_fast.baselines.baseline import Baseline
from tagnn_fast.data import Sessions, Vocabulary
from tagnn_fast.nn.session_model import SessionModel
from tagnn_fast.recommender import Recommender
from tests.support import random_sessions

ITEMS = 30
MODELS: list[type[SessionModel]] = [TAGNNPP, TAGNN, SRGNN]
COUNTS = np.array([3 + item % 5 for item in range(ITEMS)])
POPULAR = [5, 10, 15, 20, 25, 30, 4, 9]  # of item indices, equal ones by index
SESSIONS = [[3, 9, 3], [5], *random_sessions((7, 1, 12, 2), ITEMS)]


def make(
    model: type[SessionModel | Baseline] = TAGNNPP, semantics: str = "clean", strings: bool = False
) -> Recommender:
    """A network in float64, or a fitted baseline; raw ids are 100 more than the index, or that as text."""
    torch.manual_seed(0)
    config = ModelConfig(ITEMS, hidden_size=8, semantics=semantics, padded_length=None if semantics == "clean" else 12)
    ids = [str(100 + item) if strings else 100 + item for item in range(1, ITEMS + 1)]
    made = model(config)
    if isinstance(made, Baseline):
        made.fit(Sessions.from_lists(random_sessions((9, 4, 2, 7, 12, 3, 5, 8) * 4, ITEMS)))
    return Recommender(made.double() if isinstance(made, SessionModel) else made, Vocabulary(pa.array(ids), COUNTS))


def raw(sessions: list[list[int]]) -> list[list[int]]:
    return [[100 + item for item in session] for session in sessions]


def table_of(recommender: Recommender, sessions: object, k: int = 20, **options: object) -> pa.Table:
    """What is recommended, as a table."""
    return recommender.recommend(sessions, k, **options).to_table()  # type: ignore[arg-type]
