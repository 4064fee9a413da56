"""Scores that are cosines: session vectors and values of a fixed length, to go with item vectors of length 1."""

import math

import torch
from torch import Tensor, nn

from tagnn_fast.nn.unit_rows import unit_rows
from tagnn_fast.ops.graph import EncodedSessions


class CosineScale(nn.Module):
    """Brings session vectors to length σ · s and values to length σ · (1 - s).

    With unit item vectors v̂_j, target attention then scores item j by σ (s â · v̂_j + (1 - s) Σ_p β_pj ĥ_p · v̂_j): NISER
    (Gupta et al., 2019, equations 4 and 6) with the scale σ there, and its cosine for each of the two parts.

    Args:
        scale: σ, above 0.
        learned_scale: learn σ, from that value, as exp of a parameter.
        share: s, of the session vector; 1 where sessions score by their vectors alone.
        learned_share: learn s, from that value, as the logistic function of a parameter.
    """

    def __init__(self, scale: float, learned_scale: bool, share: float, learned_share: bool) -> None:
        super().__init__()
        self.scale, self.share = scale, share
        self.log_scale = nn.Parameter(torch.empty(1)) if learned_scale else None  # (1,)
        self.share_logit = nn.Parameter(torch.empty(1)) if learned_share else None  # (1,)
        self.reset_parameters()
        self.lengths = scale * share, scale * (1 - share)  # of answers, see settle

    def reset_parameters(self) -> None:
        """The scale and share to begin with."""
        if self.log_scale is not None:
            nn.init.constant_(self.log_scale, math.log(self.scale))
        if self.share_logit is not None:
            nn.init.constant_(self.share_logit, math.log(self.share / (1 - self.share)))

    @torch.jit.ignore
    def settle(self) -> None:
        """Set the lengths of session vectors and values that answer to what has been learned."""
        scale = self.scale if self.log_scale is None else float(self.log_scale.detach().exp())
        share = self.share if self.share_logit is None else float(self.share_logit.detach().sigmoid())
        self.lengths = scale * share, scale * (1 - share)

    def forward(self, encoded: EncodedSessions) -> EncodedSessions:
        """The same sessions with vectors and values of these lengths."""
        session: Tensor = unit_rows(encoded.session)  # (sessions, hidden)
        values: Tensor = unit_rows(encoded.values)  # (slots, hidden)
        log_scale, share_logit = self.log_scale, self.share_logit
        if log_scale is not None:
            scale = log_scale.exp()
            session, values = session * scale, values * scale
        else:
            session, values = session * self.scale, values * self.scale
        if share_logit is not None:
            share = share_logit.sigmoid()
            session, values = session * share, values * (1 - share)
        else:
            session, values = session * self.share, values * (1 - self.share)
        return EncodedSessions(
            session, encoded.keys, values, encoded.click_counts, encoded.padding, encoded.slot_offsets
        )
