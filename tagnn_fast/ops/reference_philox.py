"""Random numbers that every implementation of an op draws alike."""

from __future__ import annotations

from torch import Tensor


def philox(seed: Tensor, counters: tuple[Tensor, Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Philox4x32-10 (Salmon et al., 2011): four 32-bit words for each counter, as int64. Same as csrc/philox.h."""
    low = 0xFFFFFFFF
    c0, c1, c2, c3 = counters
    key0, key1 = seed & low, (seed >> 32) & low
    for _ in range(10):
        product0, product1 = c0 * 0xD2511F53, c2 * 0xCD9E8D57  # wraps around; only the bits are used
        c0, c1, c2, c3 = (
            ((product1 >> 32) & low) ^ c1 ^ key0,
            product1 & low,
            ((product0 >> 32) & low) ^ c3 ^ key1,
            product0 & low,
        )
        key0, key1 = (key0 + 0x9E3779B9) & low, (key1 + 0xBB67AE85) & low
    return c0, c1, c2, c3
