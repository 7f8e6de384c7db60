"""Phantoms: same seed, same brain; other patient, other brain; contrasts differ as they should."""

import subprocess
import sys

import numpy as np
import pytest

from segshift import phantoms
from segshift.errors import SegShiftError

SMALL = {"size": 32, "slices": 4}


@pytest.fixture(scope="module")
def scans():
    return {domain: phantoms.volume(domain, 0, **SMALL) for domain in phantoms.DOMAINS}


def test_shapes_ranges_and_labels(scans):
    for image, label, spacing in scans.values():
        assert image.shape == label.shape == (4, 32, 32)
        assert image.dtype == np.float32 and label.dtype == np.uint8
        assert image.min() == 0 and image.max() == 1
        assert set(np.unique(label)) == set(range(len(phantoms.CLASSES)))
        assert spacing[0] == 18 and spacing[1] == spacing[2] == pytest.approx(7, rel=0.2)


def test_order_of_intensities(scans):
    """T1: white matter is brightest; T2: fluid, then gray; FLAIR: gray, then white, fluid darkest."""
    mean = {
        domain: [float(image[label == index].mean()) for index in (1, 2, 3)]
        for domain, (image, label, _) in scans.items()
    }
    for domain in ("t1_a", "t1_b"):
        fluid, gray, white = mean[domain]
        assert fluid < white and gray < white
    fluid, gray, white = mean["t2"]
    assert fluid > gray > white
    fluid, gray, white = mean["flair"]
    assert gray > white > fluid


def test_patients_follow_from_seed_domain_and_index(scans):
    again = phantoms.volume("t1_a", 0, **SMALL)
    np.testing.assert_array_equal(again[0], scans["t1_a"][0])
    np.testing.assert_array_equal(again[1], scans["t1_a"][1])
    others = [phantoms.volume("t1_a", 1, **SMALL), phantoms.volume("t1_a", 0, seed=1, **SMALL), scans["t1_b"]]
    for _, label, _ in others:
        assert (label != again[1]).mean() > 0.05


def test_unknown_domain():
    with pytest.raises(SegShiftError, match="unknown phantom domain 't1'.*known: t1_a, t1_b, t2, flair"):
        phantoms.volume("t1", 0)


def test_nothing_heavy_is_imported():
    code = "import sys, segshift.stages.phantom, segshift.stages.prepare; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {"torch", "pandas", "mlflow", "nilearn", "sklearn"} & set(loaded)
