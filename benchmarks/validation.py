"""Scoring of volumes of 256² × 256 with 15 classes: core-seconds and peak memory, the network aside.

The model is one 1 × 1 convolution, so what is measured is reading, bringing logits to size, arg max and
counting. Volumes are counted chunk by chunk, so twenty take twenty times one, which one and two volumes show;
the memory must not grow. The baseline stacks a volume and makes it one-hot, as is often done.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from torch import nn

from segshift.contracts import Map

SLICES, SIZE, CLASSES, VOLUMES = 256, 256, 15, 20


class Nothing(nn.Module):
    """A backbone that does nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.maps = [Map(3, 1, (SIZE, SIZE))]

    def forward(self, images, taps):
        """(B, 3, H, W) -> itself."""
        return [images]


class Guess(nn.Module):
    """A head of one convolution."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.classify = nn.Conv2d(3, CLASSES, 1)

    def forward(self, maps):
        """[(B, 3, H, W)] -> [(B, classes, H, W)]."""
        return [self.classify(maps[0])]

    def predict(self, outputs):
        """The only output."""
        return outputs[-1]


@torch.inference_mode()
def stacked(checkpoint, data) -> list[float]:
    """The baseline: a whole volume's prediction and truth as one-hot masks."""
    scores = []
    for volume in data.volumes("test"):
        image, label = (torch.from_numpy(one) for one in data.volume("test", volume.id))
        parts = [checkpoint.model(part.unsqueeze(1))[-1] for part in image.split(8)]
        prediction = nn.functional.one_hot(torch.cat(parts).argmax(1), CLASSES)
        truth = nn.functional.one_hot(label.long(), CLASSES)
        both, sizes = (prediction * truth).sum((0, 1, 2)), (prediction + truth).sum((0, 1, 2))
        scores += (200 * both / sizes)[1:].tolist()
    return scores


def measure(way: str, folder: str) -> None:
    """One way in a process of its own; prints seconds and peak MB above what was there before."""
    from segshift.inference import Checkpoint
    from segshift.model import Segmenter
    from segshift.prepared import Prepared
    from segshift.scoring import score

    torch.set_num_threads(1)
    data = Prepared(Path(folder))
    checkpoint = Checkpoint("model", "0" * 16, Segmenter(Nothing(), Guess(), [0]).eval(), {})
    before, started = peak(), time.process_time()
    if way == "chunks":
        score([checkpoint], data, "synthetic", "test", torch.device("cpu"))
    else:
        stacked(checkpoint, data)
    print(f"{time.process_time() - started} {peak() - before}")


def peak() -> float:
    """Largest resident memory of this process, MB."""
    status = Path("/proc/self/status").read_text().split()
    return int(status[status.index("VmHWM:") + 1]) / 1024


def main() -> None:
    import synthetic

    figures = {}
    with tempfile.TemporaryDirectory() as name:
        for volumes in (1, 2):
            folder = Path(name) / str(volumes)
            counts = {"train": 0, "validation": 0, "test": volumes}
            synthetic.prepared(folder, counts, SLICES, SIZE, CLASSES)
            for way in ("chunks", "stacked") if volumes == 1 else ("chunks",):
                command = [sys.executable, __file__, way, str(folder)]
                printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
                took, memory = (float(one) for one in printed.split())
                figures[way, volumes] = took, memory
                print(
                    f"{way}, {volumes} volume(s): {took:.1f} core-s, {memory:.0f} MB more than before",
                    flush=True,
                )
    one, two = figures["chunks", 1], figures["chunks", 2]
    each = two[0] - one[0]
    print(f"{VOLUMES} volumes, scaled from the second: {VOLUMES * each:.0f} core-s, {two[1]:.0f} MB")
    other = figures["stacked", 1]
    print(
        f"ratio stacked / chunks: {other[0] / one[0]:.2f} in core-seconds, {other[1] / one[1]:.1f} in memory"
    )


if __name__ == "__main__":
    measure(*sys.argv[1:]) if len(sys.argv) == 3 else main()
