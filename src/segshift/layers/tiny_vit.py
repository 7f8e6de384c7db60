"""Parts of TinyViT (Wu et al., Fast Pretraining Distillation for Small Vision Transformers, ECCV 2022).

All work on maps (B, C, h, w). Attribute names are the key names of published weights. Stochastic depth is
left out: LiteMedSAM, the only user, has a rate of 0.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional


class ConvolutionNorm(nn.Sequential):
    """Convolution without bias (same size at stride 1) and batch norm; keys ``c`` and ``bn``."""

    def __init__(self, channels: int, width: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.c = nn.Conv2d(channels, width, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(width)


class PatchEmbedding(nn.Module):
    """LiteMedSAM's: two 1 × 1 convolutions without stride, where TinyViT's own have stride 4 together."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.seq = nn.Sequential(
            ConvolutionNorm(3, width // 2), nn.GELU(), ConvolutionNorm(width // 2, width)
        )

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, width, H, W)."""
        return self.seq(images)


class InvertedBottleneck(nn.Module):
    """MBConv: widen, depth-wise 3 × 3, narrow, add; GELU after each. Its residual branch starts at 0."""

    def __init__(self, width: int, expansion: int = 4) -> None:
        super().__init__()
        hidden = width * expansion
        self.conv1 = ConvolutionNorm(width, hidden)
        self.conv2 = ConvolutionNorm(hidden, hidden, kernel=3, groups=hidden)
        self.conv3 = ConvolutionNorm(hidden, width)
        nn.init.zeros_(self.conv3.bn.weight)

    def forward(self, maps: Tensor) -> Tensor:
        """(B, C, h, w) -> the same shape."""
        hidden = functional.gelu(self.conv2(functional.gelu(self.conv1(maps))))
        return functional.gelu(maps + self.conv3(hidden))


class Downsample(nn.Module):
    """PatchMerging: 1 × 1 to the next width, depth-wise 3 × 3 with stride 1 or 2, 1 × 1."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = ConvolutionNorm(channels, width)
        self.conv2 = ConvolutionNorm(width, width, kernel=3, stride=stride, groups=width)
        self.conv3 = ConvolutionNorm(width, width)

    def forward(self, maps: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, width, ⌈h/stride⌉, ⌈w/stride⌉)."""
        return self.conv3(functional.gelu(self.conv2(functional.gelu(self.conv1(maps)))))


class WindowAttention(nn.Module):
    """Multi-head attention in a window, with a learned bias a head for each absolute offset (|Δy|, |Δx|)."""

    def __init__(self, width: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.attention_biases = nn.Parameter(torch.zeros(heads, window * window))
        row, column = torch.arange(window * window) // window, torch.arange(window * window) % window
        offsets = (row[:, None] - row).abs() * window + (column[:, None] - column).abs()
        self.register_buffer("offsets", offsets, persistent=False)  # (N, N)

    def forward(self, tokens: Tensor) -> Tensor:
        """(windows, N, C) -> the same shape, N the square of the window's side."""
        # Each head's query, key and value lie side by side in the output of `qkv`.
        mixed = self.qkv(self.norm(tokens)).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        query, key, value = mixed.chunk(3, dim=-1)  # (windows, heads, N, C / heads)
        scores = (
            query @ key.transpose(-2, -1) * query.shape[-1] ** -0.5 + self.attention_biases[:, self.offsets]
        )
        return self.proj((scores.softmax(dim=-1) @ value).transpose(1, 2).flatten(2))


class Perceptron(nn.Module):
    """Layer norm and two linear layers with a GELU between."""

    def __init__(self, width: int, expansion: int = 4) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, width * expansion)
        self.fc2 = nn.Linear(width * expansion, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """(..., C) -> the same shape."""
        return self.fc2(functional.gelu(self.fc1(self.norm(tokens))))


class WindowBlock(nn.Module):
    """Window attention, depth-wise 3 × 3 convolution, perceptron.

    A map whose sides the window does not divide is padded with zeros below and on the right; the padding
    takes part in the attention, as in the original.
    """

    def __init__(self, width: int, heads: int, window: int) -> None:
        super().__init__()
        self.window = window
        self.attn = WindowAttention(width, heads, window)
        self.local_conv = ConvolutionNorm(width, width, kernel=3, groups=width)
        self.mlp = Perceptron(width)

    def forward(self, maps: Tensor) -> Tensor:
        """(B, C, h, w) -> the same shape."""
        maps = self.local_conv(maps + self._attend(maps))
        return maps + self.mlp(maps.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)

    def _attend(self, maps: Tensor) -> Tensor:
        height, width = maps.shape[-2:]
        side = self.window
        padded = functional.pad(maps, (0, -width % side, 0, -height % side))
        rows, columns = padded.shape[-2] // side, padded.shape[-1] // side
        windows = padded.unflatten(3, (columns, side)).unflatten(
            2, (rows, side)
        )  # (B, C, rows, side, columns, side)
        tokens = windows.permute(0, 2, 4, 3, 5, 1).flatten(3, 4).flatten(0, 2)  # (windows, N, C)
        attended = self.attn(tokens).view(len(maps), rows, columns, side, side, -1)
        merged = attended.permute(0, 5, 1, 3, 2, 4).flatten(4, 5).flatten(2, 3)  # (B, C, h, w), padded
        return merged[..., :height, :width]


class Stage(nn.Module):
    """Blocks of one width, and behind them the way to the next stage (None after the last)."""

    def __init__(self, blocks: list[nn.Module], downsample: Downsample | None) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.downsample = downsample
