"""SAM's neck and its channel-wise layer norm (Kirillov et al., Segment Anything, 2023, appendix A)."""

import torch
from torch import Tensor, nn


class LayerNorm2d(nn.Module):
    """Layer norm over the channels of a map (B, C, h, w), with the population variance."""

    def __init__(self, channels: int, epsilon: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.epsilon = epsilon

    def forward(self, maps: Tensor) -> Tensor:
        """(B, C, h, w) -> the same shape."""
        variance, mean = torch.var_mean(maps, dim=1, correction=0, keepdim=True)
        normed = (maps - mean) * torch.rsqrt(variance + self.epsilon)
        return normed * self.weight[:, None, None] + self.bias[:, None, None]


def build_neck(channels: int, width: int = 256) -> nn.Sequential:
    """Two convolutions without bias, 1 × 1 and 3 × 3, each followed by a layer norm.

    (B, channels, h, w) -> (B, width, h, w). Key names are those of SAM's files (``neck.0`` to ``neck.3``).
    """
    return nn.Sequential(
        nn.Conv2d(channels, width, kernel_size=1, bias=False),
        LayerNorm2d(width),
        nn.Conv2d(width, width, kernel_size=3, padding=1, bias=False),
        LayerNorm2d(width),
    )
