"""Pictures in colour reach the backbone as red, green and blue, augmented, in training and in evaluation."""

import numpy as np
import torch
import yaml
from PIL import Image

from segshift import scores
from segshift.backbones import unet
from segshift.cli import main

CELL = "skin/unet/full/own/0"
CONFIG = {
    "project": {"seeds": [0], "raw": "raw"},
    "anatomies": {"skin": {"classes": ["background", "mole"]}},
    "datasets": {
        "skin": {
            "module": "png",
            "anatomy": "skin",
            "modality": "photograph",
            "plane": "axial",
            "image_files": "images/{split}/{id}.png",
            "label_files": "labels/{split}/{id}.png",
            "preprocess": [{"resize": {"size": 12}}],
            "lost_labels": 1.0,
        }
    },
    "backbones": {"unet": {"module": "unet", "image_size": 16, "width": 4, "depth": 2}},
    "tunings": {"full": {"module": "full"}},
    "heads": {"own": {"module": "own"}},
    "adaptations": {},
    "weights": {},
    "training": [
        {
            "use": {
                "learning_rate": 0.01,
                "epochs": 1,
                "batch_size": 4,
                "augment": {"elastic": {"probability": 1}, "structural": {}, "photometric": {}},
            }
        }
    ],
    "experiments": {"colour": {"title": "Colours", "grid": {"source": ["skin"], "backbone": ["unet"],
                                                            "tuning": ["full"], "head": ["own"]}}},
    "labels": {},
}  # fmt: skip


def test_colour_from_files_to_scores(tmp_path, monkeypatch):
    config, results = tmp_path / "config", tmp_path / "results"
    config.mkdir()
    for name, content in CONFIG.items():
        (config / f"{name}.yaml").write_text(yaml.safe_dump(content) if content else "")
    random = np.random.default_rng(0)
    for split, count in (("train", 6), ("validation", 2), ("test", 2)):
        for number in range(count):
            image = random.integers(0, 256, (10, 10, 3)).astype(np.uint8)
            image[..., 0] //= 4  # little red, much blue
            image[..., 2] = 255 - image[..., 2] // 4
            label = (random.random((10, 10)) < 0.4).astype(np.uint8)
            for kind, content in (("images", image), ("labels", label)):
                (tmp_path / "raw/skin" / kind / split).mkdir(parents=True, exist_ok=True)
                Image.fromarray(content).save(tmp_path / "raw/skin" / kind / split / f"{split}{number}.png")
    seen = []
    forward = unet.UNet.forward

    def watched(self, images, taps):
        seen.append(images.detach().clone())
        return forward(self, images, taps)

    monkeypatch.setattr(unet.UNet, "forward", watched)
    both = ["--config", str(config), "--results", str(results)]
    assert main(["settings", "--write", *both]) == 0
    assert main(["prepare", "skin", *both]) == 0
    assert main(["train", CELL, "--results", str(results), "--device", "cpu"]) == 0
    assert main(["evaluate", CELL, *both, "--device", "cpu"]) == 0
    assert {batch.shape[1] for batch in seen} == {3} and len(seen) >= 4
    for batch in seen:
        red, green, blue = batch.mean((0, 2, 3))
        assert red < green < blue and not torch.equal(batch[:, 0], batch[:, 2])
    assert {row.target for row in scores.read(results / "runs" / CELL / "scores.csv")} == {"skin"}
