"""Steps per second of a frozen ViT-B at batch 4 with the heads linear and HQHSAM: 256² slices, 15 classes.

A step is what training does: the frozen pass, the head, cross-entropy at 256², backward, AdamW. On
the GPU where there is one, else on one and on all cores. Weights are random, which costs the same.
"""

import os
import statistics
import time

import torch

from segshift import losses, model, optimizers, plugins
from segshift.contracts import freeze

BATCH, SIZE, CLASSES, ROUNDS = 4, 256, 15, 5
BACKBONE = {"module": "timm", "model": "vit_base_patch14_dinov2", "image_size": 224, "positions": "dinov2"}


def segmenter(head: str) -> model.Segmenter:
    """A frozen backbone and a head, as a cell would be built."""
    backbone = freeze(plugins.build("backbones", BACKBONE))
    taps = plugins.load("heads", head).taps(backbone)
    backbone.use(taps)
    return model.Segmenter(
        backbone, plugins.build("heads", {"module": head}, [backbone.maps[t] for t in taps], CLASSES), taps
    )


def seconds(head: str, device: torch.device) -> float:
    """The median of a step, after two that do not count."""
    built = segmenter(head).to(device)
    built.train()
    learning = [parameter for parameter in built.parameters() if parameter.requires_grad]
    optimizer = optimizers.build(learning, {"learning_rate": 5e-5, "weight_decay": 1e-5})
    images = torch.rand(BATCH, 1, SIZE, SIZE, device=device)
    labels = torch.randint(CLASSES, (BATCH, SIZE, SIZE), device=device)
    # on one thread core-seconds, which do not mind other processes
    clock = time.process_time if device.type == "cpu" and torch.get_num_threads() == 1 else time.perf_counter
    took = []
    for _ in range(ROUNDS + 2):
        started = clock()
        optimizer.zero_grad(set_to_none=True)
        with torch.no_grad():
            maps = built.features(images)
        outputs = built.decode(maps, (SIZE, SIZE))
        loss = losses.weighted(
            outputs, built.head.loss_weights, lambda one: losses.cross_entropy(one, labels)
        )
        loss.backward()
        optimizer.step()
        loss.item()
        took.append(clock() - started)
    return statistics.median(took[2:])


def main() -> None:
    gpu = torch.cuda.is_available()
    device = torch.device("cuda" if gpu else "cpu")
    for threads in [1] if gpu else sorted({1, os.cpu_count()}):
        torch.set_num_threads(threads)
        where = torch.cuda.get_device_name() if gpu else f"{threads} CPU thread(s)"
        times = {head: seconds(head, device) for head in ("linear", "hqhsam")}
        for head, one in times.items():
            print(f"{head}: {1 / one:.2f} steps/s, {BATCH / one:.1f} slices/s ({where})", flush=True)
        print(f"ratio hqhsam / linear: {times['hqhsam'] / times['linear']:.2f}")


if __name__ == "__main__":
    main()
