"""Phantoms: same seed, same patient; other patient, other anatomy; contrasts differ as they should."""

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


def test_four_anatomies_each_with_domains():
    counts = {name: list(phantoms.DOMAINS.values()).count(name) for name in phantoms.ANATOMIES}
    assert counts == {"brain": 5, "prostate": 2, "spine": 2, "tumor": 2}


def test_shapes_ranges_and_labels(scans):
    for domain, (image, label, spacing) in scans.items():
        assert image.shape == label.shape == (4, 32, 32)
        assert image.dtype == np.float32 and label.dtype == np.uint8
        assert image.min() == 0 and image.max() == 1
        classes = phantoms.ANATOMIES[phantoms.DOMAINS[domain]].CLASSES
        assert set(np.unique(label)) == set(range(len(classes)))
        if phantoms.DOMAINS[domain] in ("brain", "tumor"):  # 224 mm, and 54 mm from first to last slice
            assert spacing[0] == 18 and spacing[1] == spacing[2] == pytest.approx(7, rel=0.2)


def test_contrasts_of_one_tumor(scans):
    """Same patient, same label; fluid in the necrosis is dark in FLAIR, bright in T2, next to the oedema."""
    (flair, label, spacing), (t2, same, also) = scans["tumor_flair"], scans["tumor_t2"]
    np.testing.assert_array_equal(label, same)
    assert spacing == also
    assert flair[label == 3].mean() < flair[label == 1].mean() - 0.2
    assert t2[label == 3].mean() > t2[label == 1].mean()


def test_zones_lie_in_the_gland_and_vertebrae_from_top_to_bottom(scans):
    _, label, _ = scans["prostate_body"]
    rows = [np.argwhere(label == index)[:, 1].mean() for index in (1, 2)]
    assert rows[1] < rows[0]  # the transition zone lies in front of the peripheral one
    _, label, _ = scans["spine_a"]
    rows = [np.argwhere(label == index)[:, 1].mean() for index in range(1, 6)]
    assert rows == sorted(rows)
    columns = [np.argwhere(label == index)[:, 2].mean() for index in (3, 6)]
    assert columns[0] < columns[1]  # the canal is behind the bodies


def test_a_coil_is_brightest_near_the_rectum(scans):
    """With it, the peripheral zone, next to the rectum, outshines the rest of the pelvis."""
    ratio = {}
    for domain in ("prostate_body", "prostate_coil"):
        image, label, _ = scans[domain]
        ratio[domain] = image[label == 1].mean() / image[(label == 0) & (image > 0.1)].mean()
    assert ratio["prostate_coil"] > 1.5 * ratio["prostate_body"]


def test_order_of_intensities(scans):
    """T1: white matter is brightest; T2: fluid, then gray; FLAIR: gray, then white, fluid darkest."""
    mean = {
        domain: [float(image[label == index].mean()) for index in (1, 2, 3)]
        for domain, (image, label, _) in scans.items()
        if phantoms.DOMAINS[domain] == "brain"
    }
    for domain in ("t1_a", "t1_b", "t1_c"):
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
    for domain in ("prostate_coil", "spine_b", "tumor_t2"):
        again, other = (phantoms.volume(domain, index, **SMALL) for index in (0, 1))
        np.testing.assert_array_equal(again[0], scans[domain][0])
        assert (other[1] != again[1]).mean() > 0.02


def test_unknown_domain():
    with pytest.raises(
        SegShiftError, match="unknown phantom domain 't1'.*known: t1_a, t1_b, t2, flair, t1_c, prostate_body"
    ):
        phantoms.volume("t1", 0)


def test_nothing_heavy_is_imported():
    code = "import sys, segshift.stages.phantom, segshift.stages.prepare; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {"torch", "pandas", "mlflow", "nilearn", "sklearn"} & set(loaded)
