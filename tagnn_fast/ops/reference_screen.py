"""What :func:`tagnn_fast.ops.item_screen` computes, in plain PyTorch: the definition."""

import torch
from torch import Tensor

from tagnn_fast.ops.item_screen import BLOCK, LONGEST


def item_screen(table: Tensor) -> Tensor:
    """See :func:`tagnn_fast.ops.item_screen`; errors may be an ulp larger or smaller."""
    scales, errors, numbers = screened(table.float())
    blocks = -(-table.shape[0] // BLOCK)
    rows = torch.nn.functional.pad(
        numbers + 128, (0, -numbers.shape[1] % 4, 0, -numbers.shape[0] % BLOCK), value=128
    ).to(torch.uint8)
    heads = [
        torch.nn.functional.pad(part, (0, -part.shape[0] % BLOCK)).reshape(blocks, BLOCK).view(torch.uint8)
        for part in (scales, errors)
    ]
    units = rows.reshape(blocks, BLOCK, -1, 4).transpose(1, 2).reshape(blocks, -1)  # (blocks, hidden / 4 * 32 * 4)
    return torch.cat([*heads, units], 1)


def screened(vectors: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Scales and errors, float32 (items,), and numbers, float32 (items, hidden), of float32 vectors."""
    exact = vectors.double()
    is_screened = exact.norm(dim=1) <= LONGEST
    scales = vectors.abs().amax(1) / 127
    scales = torch.where(is_screened & (scales >= torch.finfo(torch.float32).tiny), scales, 0)
    has_numbers = (scales > 0).unsqueeze(1)
    numbers = torch.where(has_numbers, (vectors * (1 / scales).unsqueeze(1)).round().clamp(-127, 127), 0)
    rest = (exact - scales.double().unsqueeze(1) * numbers).norm(dim=1).float()
    return scales, torch.where(is_screened, rest.nextafter(torch.tensor(LONGEST)), torch.inf), numbers
