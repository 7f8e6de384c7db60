"""The linear head over maps of falling stride: classes resized and summed, against channels resized and
joined.

Prints core-seconds of a step (forward and backward, one thread) of both, alternating in one process, and
their ratio.
"""

import statistics
import time

import torch
from torch import Tensor

from segshift.contracts import Map
from segshift.heads import linear
from segshift.layers.images import resize

# The four stages of LiteMedSAM at 56 px, batch 4.
MAPS = [Map(320, 4, (14, 14)), Map(160, 4, (14, 14)), Map(128, 2, (28, 28)), Map(64, 1, (56, 56))]
ROUNDS = 15


def joined(head: torch.nn.Module, maps: list[Tensor]) -> Tensor:
    """The definition: all channels at the finest grid."""
    features = torch.cat([resize(one, head.grid) for one in maps], dim=1)
    return head.classify(head.dropout(head.norm(features)))


def main() -> None:
    torch.set_num_threads(1)
    head = linear.build(MAPS, 5)
    maps = [torch.rand(4, one.channels, *one.grid) for one in MAPS]
    ways = {"by map": lambda: head(maps)[0], "joined": lambda: joined(head, maps)}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, forward in ways.items():
            started = time.process_time()
            forward().square().mean().backward()
            seconds[name].append(time.process_time() - started)
    middle = {name: statistics.median(values) for name, values in seconds.items()}
    for name, value in middle.items():
        print(f"{name}: {1000 * value:.1f} core-ms a step")
    print(f"ratio joined / by map: {middle['joined'] / middle['by map']:.1f}")


if __name__ == "__main__":
    main()
