"""Predictions that a figure shows are those that were scored."""

import numpy as np
import pytest
import torch
from tests.engine.conftest import CLASSES, UNET

from segshift import scores
from segshift.errors import SegShiftError
from segshift.figures import examples
from segshift.grid import Model
from segshift.prepared import Prepared
from segshift.stages import evaluate


def test_a_shown_prediction_is_the_scored_one(sources, tmp_path):
    project = sources.copy(tmp_path / "results")
    evaluate.run(UNET, ["b"], str(project.root), device="cpu")
    prepared = Prepared(project.results.data("b"))
    counted = dict.fromkeys(CLASSES[1:], 0)
    for place in range(2):  # the first test volume has two slices
        image, truth = prepared.slice("test", "test0", place)
        found = examples.predict(Model.parse(UNET), image, project.results, torch.device("cpu"))
        assert found.shape == truth.shape and found.dtype == np.uint8
        for number, name in enumerate(CLASSES[1:], 1):
            counted[name] += int(((found == number) & (truth == number)).sum())
    rows = scores.select(scores.read(project.folder(UNET) / "scores.csv"), "b", "test")
    assert counted == {row.class_: row.tp for row in rows if row.volume == "test0" and row.class_ != "all"}


def test_a_model_that_is_not_trained(sources):
    model = Model.parse("a/unet/full/own/99")
    with pytest.raises(SegShiftError, match="a/unet/full/own/99 is not trained"):
        examples.predict(model, np.zeros((8, 8), np.float32), sources.results, torch.device("cpu"))
