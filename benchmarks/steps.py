"""Steps per second of a frozen ViT-B at batch 4 with the heads linear and HQHSAM: 256² slices, 15 classes.

A step is what training does: the frozen pass, the head, cross-entropy at 256², backward, AdamW. On the GPU
where there is one, else on one and on all cores. Weights are random, which costs the same. ``--settings``:
the training settings that promise speed, against the defaults: bfloat16, torch.compile, channels-last.

Without a GPU two numbers are printed: steps per second by the clock, which other programs on the machine
spoil, and per core-second of all threads together, which they hardly do.
"""

import argparse
import os
import statistics
import time
from typing import Any

import torch

from segshift import losses, model, optimizers, plugins
from segshift.contracts import freeze

BATCH, SIZE, CLASSES, ROUNDS = 4, 256, 15, 5
BACKBONE = {"module": "timm", "model": "vit_base_patch14_dinov2", "image_size": 224, "positions": "dinov2"}
HEADS = ("linear", "hqhsam")
SETTINGS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "precision: bfloat16": {"precision": "bfloat16"},
    "channels_last: true": {"channels_last": True},
    "compile: true": {"compile": True},
    "compile: true, precision: bfloat16": {"compile": True, "precision": "bfloat16"},
}


def segmenter(head: str) -> model.Segmenter:
    """A frozen backbone and a head, as a cell would be built."""
    backbone = freeze(plugins.build("backbones", BACKBONE))
    taps = plugins.load("heads", head).taps(backbone)
    backbone.use(taps)
    return model.Segmenter(
        backbone, plugins.build("heads", {"module": head}, [backbone.maps[t] for t in taps], CLASSES), taps
    )


def seconds(head: str, device: torch.device, training: dict[str, Any]) -> tuple[float, float, float]:
    """Medians of a step, after two that do not count: by the clock, of all cores, and what the first took."""
    torch.manual_seed(0)
    built = segmenter(head)
    layout = torch.channels_last if training.get("channels_last") else torch.preserve_format
    built = built.to(device, memory_format=layout)
    built.train()
    if training.get("compile"):
        for part in (built.backbone, built.head):
            part.compile()
    autocast = model.autocast(training, device)
    learning = [parameter for parameter in built.parameters() if parameter.requires_grad]
    optimizer = optimizers.build(learning, {"learning_rate": 5e-5, "weight_decay": 1e-5})
    images = torch.rand(BATCH, 1, SIZE, SIZE, device=device)
    labels = torch.randint(CLASSES, (BATCH, SIZE, SIZE), device=device)
    took = []
    for _ in range(ROUNDS + 2):
        started, core = time.perf_counter(), time.process_time()
        optimizer.zero_grad(set_to_none=True)
        with autocast():
            with torch.no_grad():
                maps = built.features(images)
            outputs = built.decode(maps, (SIZE, SIZE))
            loss = losses.weighted(
                outputs, built.head.loss_weights, lambda one: losses.cross_entropy(one, labels)
            )
        loss.backward()
        optimizer.step()
        loss.item()
        took.append((time.perf_counter() - started, time.process_time() - core))
    clock, cores = (statistics.median(values) for values in zip(*took[2:], strict=True))
    return clock, cores, took[0][1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--settings", action="store_true", help="bfloat16, compile, channels-last; one thread"
    )
    every = parser.parse_args().settings
    gpu = torch.cuda.is_available()
    device = torch.device("cuda" if gpu else "cpu")
    for threads in [1] if gpu or every else sorted({1, os.cpu_count()}):
        torch.set_num_threads(threads)
        where = torch.cuda.get_device_name() if gpu else f"{threads} CPU thread(s)"
        base: dict[str, float] = {}
        for name, training in SETTINGS.items() if every else [("defaults", {})]:
            for head in HEADS:
                torch.compiler.reset()
                clock, cores, first = seconds(head, device, training)
                one = clock if gpu else cores
                shown = f"{1 / clock:.2f} steps/s, {BATCH / clock:.1f} slices/s"
                shown += "" if gpu else f", {1 / cores:.2f} steps a core-second"
                shown += f", first step {first:.1f} core-s" if training.get("compile") else ""
                ratio = f"; ratio to the defaults {base[head] / one:.2f}" if head in base else ""
                base.setdefault(head, one)
                print(f"{head}, {name}: {shown} ({where}){ratio}", flush=True)
        print(f"ratio hqhsam / linear: {base['hqhsam'] / base['linear']:.2f}")


if __name__ == "__main__":
    main()
