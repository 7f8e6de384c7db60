"""A real medical foundation model beats its random twin: LiteMedSAM, frozen, with a linear head.

The demo's entries on its brain phantoms, with fewer patients and epochs. The twin's batch-norm statistics are
calibrated on the training slices; without that it is unfairly weak.
"""

import shutil
import statistics

from segshift import cli, scores
from segshift.metrics import mean

CELLS = [f"t1_a/{backbone}/frozen/linear/0" for backbone in ("lite_medsam", "lite_medsam_random")]


def test_real_weights_beat_random_ones_in_domain(tmp_path, request):
    config, results = tmp_path / "config", tmp_path / "results"
    shutil.copytree(request.config.rootpath / "config" / "demo", config)
    with (config / "training.yaml").open("a") as file:
        file.write("- use: {epochs: 8}\n")

    def run(*words):
        assert cli.main([*map(str, words), "--results", str(results)]) in (0, None)

    sizes = "--domains t1_a --train 4 --validation 1 --test 2"
    assert cli.main(["phantom", str(tmp_path / "raw"), *sizes.split()]) in (0, None)
    run("settings", "--write", "--config", config)
    run("fetch", "lite_medsam", "--config", config)
    run("prepare", "t1_a", "--config", config)
    dice = {}
    for cell in CELLS:
        run("train", cell)
        run("evaluate", cell, "t1_a", "--config", config)
        rows = [
            row
            for row in scores.read(results / "runs" / cell / "scores.csv")
            if row.split == "test" and row.checkpoint == "model" and row.dice is not None
        ]
        volumes = sorted({row.volume for row in rows})
        dice[cell] = statistics.fmean(mean([row.dice for row in rows if row.volume == v]) for v in volumes)
    print(dice)
    trained, random = dice.values()
    assert trained > 75  # it has learned something at all
    assert trained - random >= 8
