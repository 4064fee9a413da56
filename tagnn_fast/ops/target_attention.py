"""Scores of every item with attention that depends on the item (TAGNN, section 3.4).

Plain PyTorch so far: jagged and in chunks of items, so that nothing of size sessions x items x hidden is ever made.
"""

from tagnn_fast.reference import (
    target_attention_cross_entropy,
    target_attention_scores,
    target_attention_topk,
)

__all__ = ["target_attention_cross_entropy", "target_attention_scores", "target_attention_topk"]
