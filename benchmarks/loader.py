"""Slices per second of the loader with the thesis's augmentation: 256² slices, batches of 4, 0 to 2 workers.

Beside it the same transforms by torchvision v2 and, where it is installed, by batchgeneratorsv2, slice by
slice in the workers. All read the same prepared file; all use one thread a process. Nothing trains meanwhile,
so with workers the number by the clock is what the loader could feed, not what a training gets; slices per
core-second of all processes together hardly mind what else the machine does.
"""

import tempfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import synthetic
import torch
from synthetic import loader_rates
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import tv_tensors
from torchvision.transforms import v2

from segshift import devices
from segshift.loading import Loader
from segshift.slices import Positions, TrainingSlices, augmented, tensors

SIZE, BATCH, SLICES = 256, 4, 500
TURN, SLOW = 12, 2  # batches, ours and the others', which take longer
RECIPE = {
    "elastic": {"probability": 0.25, "sigma": 20, "alpha": 1000},
    "structural": {"probability": 0.25, "translate": 10, "rotate": 10, "scale": [0.9, 1.1]},
    "photometric": {"probability": 0.5, "brightness": 32 / 255, "contrast": [0.5, 1.5]},
}


class Transformed(Dataset):
    """Slices of the same file, each through ``transform(image, label)``: (1, H, W) tensors."""

    def __init__(self, slices: TrainingSlices, transform: Callable[[Tensor, Tensor], Any]) -> None:
        self.slices, self.transform = slices, transform

    def __len__(self) -> int:
        return SLICES

    def __getitem__(self, index: int) -> Any:
        image, label = self.slices.image(index % len(self.slices))
        return self.transform(torch.from_numpy(image)[None], torch.from_numpy(label)[None])


def torchvision() -> Callable[[Tensor, Tensor], Any]:
    """Elastic, affine, brightness and contrast of torchvision v2, with these probabilities and ranges."""
    transform = v2.Compose(
        [
            v2.RandomApply([v2.ElasticTransform(alpha=1000.0, sigma=20.0)], 0.25),
            v2.RandomApply([v2.RandomAffine(10, (10 / SIZE, 10 / SIZE), (0.9, 1.1))], 0.25),
            v2.RandomApply([v2.ColorJitter(brightness=32 / 255)], 0.5),
            v2.RandomApply([v2.ColorJitter(contrast=0.5)], 0.5),
        ]
    )
    return lambda image, label: transform(tv_tensors.Image(image), tv_tensors.Mask(label))


def batchgenerators() -> Callable[[Tensor, Tensor], Any]:
    """The nearest of batchgeneratorsv2: its elastic field is scaled to its largest shift, here 20 px."""
    from batchgeneratorsv2.transforms.intensity.brightness import MultiplicativeBrightnessTransform
    from batchgeneratorsv2.transforms.intensity.contrast import BGContrast, ContrastTransform
    from batchgeneratorsv2.transforms.spatial.spatial import SpatialTransform
    from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms
    from batchgeneratorsv2.transforms.utils.random import RandomTransform

    degrees = 10 / 180 * torch.pi
    spatial = SpatialTransform(
        (SIZE, SIZE), 0, False, p_elastic_deform=0.25, elastic_deform_scale=(20 / SIZE, 20 / SIZE),
        elastic_deform_magnitude=(20 / SIZE, 20 / SIZE), p_rotation=0.25, rotation=(-degrees, degrees),
        p_scaling=0.25, scaling=(0.9, 1.1), p_synchronize_scaling_across_axes=1, mode_seg="nearest",
    )  # fmt: skip
    bright = MultiplicativeBrightnessTransform(BGContrast((0.87, 1.13)), True, 1)
    contrast = ContrastTransform(BGContrast((0.5, 1.5)), True, True, 1)
    transform = ComposeTransforms([spatial, RandomTransform(bright, 0.5), RandomTransform(contrast, 0.5)])

    def apply(image: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        made = transform(image=image, segmentation=label.to(torch.int16))
        return made["image"], made["segmentation"]

    return apply


def main() -> None:
    devices.set_up({})  # as a training does
    with tempfile.TemporaryDirectory() as name:
        counts = {"train": 2, "validation": 0, "test": 0}
        data = synthetic.prepared(Path(name) / "data", counts, SLICES // 2, SIZE, 15)
        patients = [volume.patient for volume in data.volumes("train")]
        slices = TrainingSlices(data, patients, patients, RECIPE, seed=0)
        others = {"torchvision v2": torchvision()}
        if find_spec("batchgeneratorsv2"):
            others["batchgeneratorsv2"] = batchgenerators()
        else:
            print("batchgeneratorsv2 is not installed here and is left out")
        for workers in (0, 1, 2):
            more = {"num_workers": workers, "worker_init_fn": lambda number: torch.set_num_threads(1)}
            positions = Positions(slices, "rare_class", BATCH, lambda: 0)
            ours = Loader(slices, positions, workers, torch.device("cpu"))
            ways = {"segshift": loader_rates.Way(ours, lambda batch: augmented(tensors(batch)), TURN)}
            for other, transform in others.items():
                loader = DataLoader(Transformed(slices, transform), batch_size=BATCH, **more)
                ways[other] = loader_rates.Way(loader, lambda one: one, SLOW)
            figures = loader_rates.rates(ways, BATCH)
            for one, value in figures.items():
                ratio = figures["segshift"].core / value.core
                print(f"{workers} workers, {one}: {value}; ratio segshift / it {ratio:.1f}", flush=True)


if __name__ == "__main__":
    main()
