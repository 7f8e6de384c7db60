"""Lost labels, counted by hand on small volumes."""

import numpy as np
import pytest

from segshift.errors import SegShiftError
from segshift.preparation import lost, steps
from segshift.volumes import Volume

SETTINGS = {"classes": ["background", "left", "right"]}


def volume(label, spacing=(2.0, 1.0, 1.0)) -> Volume:
    label = np.asarray(label, np.uint8)
    return Volume(label.astype(np.float32), label, spacing, np.diag([*spacing, 1.0]))


def measured(before, *chosen) -> lost.Lost:
    return lost.measure(before, steps.apply(before, chosen), 3)


def test_a_crop_is_counted_voxel_by_voxel():
    label = np.zeros((3, 10, 10))
    label[:, 0] = 1  # 30 voxels in the first row
    label[:, 5, :] = 2  # 30 in the middle
    found = measured(volume(label), {"crop_pad": {"size": [8, 6]}})  # rows 1 to 8, columns 2 to 7 stay
    assert found.before[1:].tolist() == [60, 60]  # of 2 mm³
    assert found.cropped[1:].tolist() == [60, 24]  # all of the first row; 4 of 10 columns of the middle one
    assert found.after[1:].tolist() == [0, 36]
    assert found.fraction == found.cropped_fraction == pytest.approx(84 / 120)
    assert found.by_class()[1:] == [1, pytest.approx(0.4)]


@pytest.mark.parametrize("turn", ["axial", "coronal", "sagittal"])
def test_turning_and_padding_lose_nothing(turn):
    label = np.random.default_rng(0).integers(0, 3, (4, 6, 5))
    found = measured(volume(label), {"plane": {"plane": turn}}, {"crop_pad": {"size": 9}})
    assert found.fraction == 0 and found.cropped.tolist() == [0, 0, 0]
    assert found.after[1:] == pytest.approx(found.before[1:])


def test_a_crop_of_a_turned_volume():
    label = np.zeros((6, 6, 6))
    label[:, :, 0] = 1  # the lowest voxels: this affine runs (x, y, z); the last row of sagittal slices
    found = measured(
        volume(label, (1.0, 1.0, 1.0)), {"plane": {"plane": "sagittal"}}, {"crop_pad": {"size": 4}}
    )
    assert found.cropped_fraction == 1


def test_resampling_loses_thin_things_and_not_thick_ones():
    label = np.zeros((1, 40, 40))
    label[0, 10:30, 10:30] = 1
    label[0, 3] = 2  # a line of one pixel between the new pixels' centres
    found = measured(volume(label), {"resample": {"pixel": 4, "labels": "nearest"}})
    assert found.cropped_fraction == 0
    assert found.by_class()[2] == 1  # rows 2, 6, 10, ... are taken
    assert found.by_class()[1] == pytest.approx(
        0, abs=1e-12
    )  # 25 pixels of 16 mm² where there were 400 of 1 mm²
    assert found.fraction == pytest.approx(40 / 440)


def test_gains_of_one_volume_make_up_for_losses_of_another():
    one, zero = np.zeros((1, 4, 4)), np.zeros((1, 4, 4))
    one[0, 1:3, 1:3] = 1
    found = [
        lost.Lost(np.array([0, 100.0, 0]), np.zeros(3), np.array([0, after, 0])) for after in (90.0, 108.0)
    ]
    assert found[0].fraction == pytest.approx(0.1) and found[1].fraction == 0
    assert lost.total(found).fraction == pytest.approx(2 / 200)
    assert lost.total([lost.measure(volume(zero), volume(zero), 3)]).fraction == 0  # nothing to lose


@pytest.mark.parametrize(("allowed", "refused"), [(None, True), (0.03, True), (0.05, False), (0, True)])
def test_the_entry_says_what_may_be_lost(allowed, refused):
    found = lost.Lost(np.array([0, 50.0, 50.0]), np.array([0, 1.0, 3.0]), np.array([0, 49.0, 47.0]))
    settings = SETTINGS | ({} if allowed is None else {"lost_labels": allowed})
    if not refused:
        lost.check_volume(found, settings)
        lost.check_dataset(found, settings)
        return
    said = f"allows {100 * (0.01 if allowed is None else allowed):.2f} %"
    with pytest.raises(SegShiftError, match=f"^4.00 % .*cropped away, most of all 6.00 % of right; .*{said}"):
        lost.check_volume(found, settings)
    with pytest.raises(
        SegShiftError, match=f"lose 4.00 %.*4.00 % of them by cropping.*6.00 % of right.*{said}"
    ):
        lost.check_dataset(found, settings)
