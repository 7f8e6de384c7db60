"""Reading prepared data: in forked and spawned workers, and when files are missing or damaged."""

import json
import multiprocessing
import pickle

import h5py
import numpy as np
import pytest

from segshift.errors import SegShiftError
from segshift.prepared import SPLITS, Prepared, PreparedVolume, VolumeInfo, total_digest


@pytest.fixture
def data(tmp_path):
    entries = {}
    for number, split in enumerate(SPLITS):
        random = np.random.default_rng(number)
        with h5py.File(tmp_path / f"{split}.h5", "w") as file:
            entries[split] = []
            for name in ("a", "b"):
                label = random.integers(0, 2, (3, 4, 5)).astype(np.uint8)
                info = VolumeInfo(
                    name, f"p:{name}", 3, (4, 5), (2.0, 1.0, 1.0), np.eye(4), (3, 4, 5), np.eye(4)
                )
                counts = np.array([np.bincount(one.ravel(), minlength=2) for one in label], np.uint32)
                made = PreparedVolume(info, random.random((3, 4, 5)).astype(np.float16), label, counts)
                entries[split].append(made.write(file))
    splits = {split: {"volumes": volumes, "class_fractions": []} for split, volumes in entries.items()}
    manifest = {"sha256": total_digest(entries), "classes": ["no", "yes"], "splits": splits}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    return Prepared(tmp_path)


def _sum(data, queue):
    queue.put(float(data.slice("train", "a", 1)[0].sum()))


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_open_their_own_files(data, method):
    expected = float(data.slice("train", "a", 1)[0].sum())  # the parent's file is open before the fork
    context = multiprocessing.get_context(method)
    queue = context.Queue()
    worker = context.Process(target=_sum, args=(data, queue))
    worker.start()
    assert queue.get(timeout=30) == expected
    worker.join()
    assert float(data.slice("train", "a", 1)[0].sum()) == expected


def test_files_hold_one_slice_a_chunk(data):
    with h5py.File(data.folder / "train.h5") as file:
        assert file["a/image"].chunks == (1, 4, 5) and file["a/label"].chunks == (1, 4, 5)
        assert file["a/image"].dtype == np.float16 and file["a/image"].compression is None
        assert file["a/counts"].dtype == np.uint32 and file["a"].attrs["patient"] == "p:a"


def test_a_slice_several_and_all_are_the_same_arrays(data):
    image, label = data.volume("train", "b")
    assert image.dtype == np.float32
    stored, theirs = data.stored("train", "b", slice(1, 3))
    assert stored.dtype == np.float16 and theirs.dtype == np.uint8
    assert np.array_equal(stored, image[1:3]) and np.array_equal(theirs, label[1:3])
    one, its = data.slice("train", "b", 2)
    assert one.dtype == np.float32
    assert np.array_equal(one, image[2]) and np.array_equal(its, label[2])
    data.close()
    with h5py.File(data.folder / "train.h5") as file:
        assert np.array_equal(file["b/image"][()], image) and np.array_equal(file["b/label"][()], label)


def test_colours_come_before_rows_and_columns(tmp_path):
    image = np.random.default_rng(0).random((3, 4, 5, 3)).astype(np.float16)
    with h5py.File(tmp_path / "train.h5", "w") as file:
        file["a/image"], file["a/label"] = image, np.zeros((3, 4, 5), np.uint8)
    data = Prepared(tmp_path)
    assert np.array_equal(data.slice("train", "a", 1)[0], image[1].transpose(2, 0, 1))
    assert np.array_equal(data.stored("train", "a", slice(1, 3))[0], image[1:3].transpose(0, 3, 1, 2))
    assert np.array_equal(data.volume("train", "a")[0], image.transpose(0, 3, 1, 2))
    assert data.volume("train", "a")[0].flags.c_contiguous


def test_what_was_read_can_be_written_anew(data):
    """Arrays that were looked up are forgotten with the files."""
    before = data.slice("train", "a", 0)[1]
    data.close()
    with h5py.File(data.folder / "train.h5", "r+") as file:
        file["a/label"][0] = 1 - before
    assert np.array_equal(data.slice("train", "a", 0)[1], 1 - before)


def test_verify_finds_one_changed_voxel(data):
    data.verify()
    for key, where in (("image", (1, 2, 3)), ("label", (0, 0, 0))):
        data.close()
        with h5py.File(data.folder / "validation.h5", "r+") as file:
            kept = file[f"b/{key}"][where]
            file[f"b/{key}"][where] = 1 - kept
        with pytest.raises(SegShiftError, match="volume b in validation.h5 is not what its manifest says"):
            data.verify()
        data.close()
        with h5py.File(data.folder / "validation.h5", "r+") as file:
            file[f"b/{key}"][where] = kept
        data.verify()


def test_verify_finds_changed_geometry_volumes_and_manifest(data):
    with h5py.File(data.folder / "test.h5", "r+") as file:
        file["a"].attrs["patient"] = "p:other"
    with pytest.raises(SegShiftError, match="volume a in test.h5"):
        data.verify()
    data.close()
    with h5py.File(data.folder / "test.h5", "r+") as file:
        del file["a"]
    with pytest.raises(
        SegShiftError, match="test.h5 holds volumes that its manifest does not list, or lacks"
    ):
        data.verify()


def test_digest_of_the_manifest_is_checked(data):
    data.manifest["sha256"] = "0" * 64
    with pytest.raises(SegShiftError, match="digest in manifest.json"):
        data.verify()


def test_not_prepared_names_the_command(tmp_path):
    with pytest.raises(SegShiftError, match="run: segshift prepare hcp1"):
        Prepared(tmp_path / "hcp1").sha256  # noqa: B018


def test_unknown_names_and_missing_files(data):
    with pytest.raises(SegShiftError, match="no volume in train is called 'c'.*known: a, b"):
        data.slice("train", "c", 0)
    for call in (data.volumes, data.counts, lambda split: data.volume(split, "a")):
        with pytest.raises(SegShiftError, match="unknown split 'val'"):
            call("val")
    with pytest.raises(IndexError):
        data.slice("train", "a", 3)
    (data.folder / "test.h5").unlink()
    with pytest.raises(SegShiftError, match="test.h5 cannot be read.*run: segshift prepare"):
        data.volume("test", "a")


def test_pickled_without_open_files(data):
    data.volume("train", "a")
    assert pickle.loads(pickle.dumps(data)).sha256 == data.sha256
