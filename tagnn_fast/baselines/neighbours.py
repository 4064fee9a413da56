"""Session-based nearest neighbours: V-SkNN, STAN, VSTAN and VMIS-kNN, on one index."""

import math
from typing import ClassVar, Optional

import numpy as np
import torch
from torch import Tensor

from tagnn_fast.baselines.baseline import Baseline
from tagnn_fast.baselines.recency import session_weights
from tagnn_fast.checks import check_count, check_number
from tagnn_fast.data.sessions import Sessions, offsets_of
from tagnn_fast.nn.config import ModelConfig
from tagnn_fast.nn.search_space import Choice, Real, SearchSpace, Whole
from tagnn_fast.ops import session_neighbours_topk
from tagnn_fast.ops.session_neighbours import DECAYS

_MOST = 2**31 - 1  # sessions that an index can tell apart


class SessionNeighbours(Baseline):
    """Items of the training sessions that are most like a session; the formula stands at the op.

    Each item keeps the `sample` most recent of its sessions, and these lists are merged (VMIS-kNN: Kersbergen et al.,
    "Serenade", SIGMOD 2022): the same answers as those of all sessions, for work that does not grow with their number.
    "Recent" is the order of the training sessions, which is that of time.

    Args:
        config: sizes.
        neighbours: sessions that vote, k in the papers.
        sample: most recent sessions that are compared, m in the papers.
    """

    search_space: ClassVar[SearchSpace] = {
        "neighbours": Whole(50, 2000, log=True),
        "sample": Whole(250, 10_000, log=True),
    }
    posting_offsets: Tensor
    postings: Tensor
    session_offsets: Tensor
    session_items: Tensor
    session_positions: Tensor
    session_weights: Tensor
    item_weights: Tensor

    def __init__(self, config: ModelConfig, neighbours: int, sample: int) -> None:
        super().__init__(config)
        self.neighbours = check_count(neighbours, "neighbours", highest=_MOST)
        self.sample = check_count(sample, "sample", highest=_MOST)
        self.click_decay, self.click_scale = DECAYS.index("same"), 1.0
        self.match_decay, self.match_scale = DECAYS.index("same"), 1.0
        self.distance_scale, self.recency_scale, self.idf_weight = 0.0, 0.0, 0.0
        self.cosine = False
        empty = {
            "posting_offsets": torch.zeros(config.num_items + 1, dtype=torch.int64),
            "postings": torch.empty(0, dtype=torch.int32),
            "session_offsets": torch.zeros(1, dtype=torch.int64),
            "session_items": torch.empty(0, dtype=torch.int32),
            "session_positions": torch.empty(0, dtype=torch.int32),
            "session_weights": torch.empty(0, dtype=torch.float64),
            "item_weights": torch.ones(config.num_items, dtype=torch.float64),
        }
        for name, value in empty.items():
            self.register_buffer(name, value)

    def learn(self, sessions: Sessions) -> None:
        """See the base class."""
        lengths = sessions.offsets.diff().numpy()
        session = np.arange(len(sessions)).repeat(lengths)
        position = np.arange(1, len(session) + 1) - sessions.offsets[:-1].numpy().repeat(lengths)
        keys = session * self.num_items + sessions.clicks.numpy().astype(np.int64) - 1
        keys, from_the_back = np.unique(keys[::-1], return_index=True)
        session, item = keys // self.num_items, keys % self.num_items
        self.session_offsets = offsets_of(torch.from_numpy(np.bincount(session, minlength=len(sessions))))
        self.session_items = torch.from_numpy(item.astype(np.int32))
        self.session_positions = torch.from_numpy(position[::-1][from_the_back].astype(np.int32))
        self.session_weights = session_weights(sessions, self.recency_scale)
        self.item_weights = self._inverse_frequency(len(sessions))

        order = np.lexsort((-session, item))
        session, item = session[order], item[order]
        postings = np.bincount(item, minlength=self.num_items)
        rank = np.arange(len(item)) - (postings.cumsum() - postings)[item]
        kept = rank < self.sample
        self.postings = torch.from_numpy(session[kept].astype(np.int32))
        self.posting_offsets = offsets_of(torch.from_numpy(np.bincount(item[kept], minlength=self.num_items)))

    def _inverse_frequency(self, sessions: int) -> Tensor:
        """1 + idf_weight · max(0, log(sessions / clicks on the item)), float64; 1 for an item without clicks."""
        counts = self.counts.tolist()
        return torch.tensor(
            [1 + self.idf_weight * max(0.0, math.log(sessions / count)) if count else 1.0 for count in counts],
            dtype=torch.float64,
        )

    def ranked(
        self,
        items: Tensor,
        offsets: Tensor,
        k: int,
        candidates: Optional[Tensor],
        excluded: Optional[Tensor],
        excluded_offsets: Optional[Tensor],
    ) -> tuple[Tensor, Tensor]:
        """See the base class."""
        return session_neighbours_topk(
            items,
            offsets,
            self.posting_offsets,
            self.postings,
            self.session_offsets,
            self.session_items,
            self.session_positions,
            self.session_weights,
            self.item_weights,
            self.popular,
            self.popularity_rank,
            k,
            self.neighbours,
            self.sample,
            self.click_decay,
            self.click_scale,
            self.match_decay,
            self.match_scale,
            self.distance_scale,
            self.cosine,
            candidates,
            excluded,
            excluded_offsets,
        )


class VSKNN(SessionNeighbours):
    """V-SkNN (Ludewig & Jannach, "Evaluation of session-based recommendation algorithms", 2018, section 3.2).

    Later clicks of the session count more in the similarity (`click_decay`), and so do neighbours that share a later
    one (`match_decay`). Inverse item frequency as in Ludewig et al., "Empirical analysis of session-based
    recommendation algorithms", 2021.

    Args:
        config: sizes.
        neighbours: see the base class.
        sample: the same.
        click_decay: "same", "div", "linear", "log" or "quadratic".
        match_decay: the same.
        idf_weight: λ in 1 + λ · max(0, log(sessions / clicks on the item)); 0 for none.
    """

    search_space: ClassVar[SearchSpace] = {
        **SessionNeighbours.search_space,
        "click_decay": Choice(DECAYS[:-1]),
        "match_decay": Choice(DECAYS[:-1]),
        "idf_weight": Choice([0.0, 1.0, 2.0, 5.0, 10.0]),
    }

    def __init__(
        self,
        config: ModelConfig,
        *,
        neighbours: int = 500,
        sample: int = 5000,
        click_decay: str = "quadratic",
        match_decay: str = "div",
        idf_weight: float = 10.0,
    ) -> None:
        super().__init__(config, neighbours, sample)
        self.click_decay = _decay(click_decay, "click_decay")
        self.match_decay = _decay(match_decay, "match_decay")
        self.idf_weight = check_number(idf_weight, "idf_weight", 0)


class VMISKNN(VSKNN):
    """VMIS-kNN with the decays of Serenade (Kersbergen et al., SIGMOD 2022): V-SkNN as its paper configures it.

    Not as there: an item's score is multiplied by 1 + λ · log(sessions / clicks), as in V-SkNN, Serenade's code takes
    the logarithm alone; the last click's item may be recommended; no training session is too long to count.

    Args:
        config: sizes.
        neighbours: see the base class.
        sample: the same.
        idf_weight: see :class:`VSKNN`.
    """

    search_space: ClassVar[SearchSpace] = {
        **SessionNeighbours.search_space,
        "idf_weight": Choice([0.0, 1.0, 2.0, 5.0, 10.0]),
    }

    def __init__(
        self, config: ModelConfig, *, neighbours: int = 500, sample: int = 500, idf_weight: float = 1.0
    ) -> None:
        super().__init__(
            config,
            neighbours=neighbours,
            sample=sample,
            click_decay="div",
            match_decay="linear",
            idf_weight=idf_weight,
        )


class STAN(SessionNeighbours):
    """Sequence and time aware neighbourhood (Garg et al., "STAN", SIGIR 2019).

    A click with c behind it weighs exp(-c / click_scale); the similarity is the cosine, times exp(-age /
    recency_scale); an item d clicks from the latest shared one in the neighbour weighs exp(-d / distance_scale).

    Args:
        config: sizes.
        neighbours: see the base class.
        sample: the same.
        click_scale: λ₁ of the paper, in clicks.
        recency_scale: 1 / λ₂ of the paper, in shares of the training period: 0.5 is half of it. The period is measured
            by the sessions' times, or by their number where the data set has no times. 0: age does not matter.
        distance_scale: 1 / λ₃ of the paper, in clicks. 0: distance does not matter.
    """

    search_space: ClassVar[SearchSpace] = {
        **SessionNeighbours.search_space,
        "click_scale": Real(0.5, 8, log=True),
        "recency_scale": Real(0.05, 4, log=True),
        "distance_scale": Real(0.5, 20, log=True),
    }

    def __init__(
        self,
        config: ModelConfig,
        *,
        neighbours: int = 500,
        sample: int = 5000,
        click_scale: float = 1.25,
        recency_scale: float = 0.5,
        distance_scale: float = 5.0,
    ) -> None:
        super().__init__(config, neighbours, sample)
        self.cosine = True
        self.click_decay = DECAYS.index("exponential")
        self.click_scale = check_number(click_scale, "click_scale", 1e-6)
        self.recency_scale = check_number(recency_scale, "recency_scale", 0)
        self.distance_scale = check_number(distance_scale, "distance_scale", 0)


class VSTAN(STAN):
    """VSTAN (Ludewig et al., "Empirical analysis of session-based recommendation algorithms", 2021): STAN and V-SkNN.

    To STAN come the weight of neighbours by their latest shared click, exp(-(clicks after it) / match_scale), and the
    inverse item frequency.

    Args:
        config: sizes.
        neighbours: see the base class.
        sample: the same.
        click_scale: see :class:`STAN`.
        recency_scale: the same.
        distance_scale: the same.
        match_scale: in clicks.
        idf_weight: see :class:`VSKNN`.
    """

    search_space: ClassVar[SearchSpace] = {
        **STAN.search_space,
        "match_scale": Real(0.5, 20, log=True),
        "idf_weight": Choice([0.0, 1.0, 2.0, 5.0, 10.0]),
    }

    def __init__(
        self,
        config: ModelConfig,
        *,
        neighbours: int = 1500,
        sample: int = 5000,
        click_scale: float = 1.25,
        recency_scale: float = 0.7,
        distance_scale: float = 10.0,
        match_scale: float = 10.0,
        idf_weight: float = 10.0,
    ) -> None:
        super().__init__(
            config,
            neighbours=neighbours,
            sample=sample,
            click_scale=click_scale,
            recency_scale=recency_scale,
            distance_scale=distance_scale,
        )
        self.match_decay = DECAYS.index("exponential")
        self.match_scale = check_number(match_scale, "match_scale", 1e-6)
        self.idf_weight = check_number(idf_weight, "idf_weight", 0)


def _decay(name: object, argument: str) -> int:
    known = DECAYS[:-1]  # "exponential" has a scale
    if name not in known:
        raise ValueError(f"{argument}: expected one of {', '.join(known)}, got {name!r}")
    return known.index(str(name))
