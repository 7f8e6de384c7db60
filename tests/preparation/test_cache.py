"""What is kept of steps: same content, bounded size, damage is no data."""

import os

import numpy as np
import pytest

from segshift import modules
from segshift.preparation import cache as caches
from segshift.preparation.cache import Cache
from segshift.volumes import Volume


def volume(seed=0, shape=(4, 32, 32)) -> Volume:
    random = np.random.default_rng(seed)
    image, label = random.random(shape).astype(np.float32), random.integers(0, 9, shape).astype(np.uint8)
    affine = random.normal(size=(4, 4))
    return Volume(image, label, (2.5, 1 / 3, 0.7), affine, image > 0.5)


def test_what_comes_back_is_what_was_kept(tmp_path):
    cache, colour = Cache(tmp_path, 1e6), volume(1, (4, 8, 8, 3))
    colour = colour.with_(label=None, mask=None)
    for name, one in (("gray", volume()), ("colour", colour)):
        assert cache.get(name) is None
        cache.put(name, one)
        found = cache.get(name)
        assert found.spacing == one.spacing
        for key in ("image", "label", "mask", "affine"):
            np.testing.assert_array_equal(getattr(found, key), getattr(one, key))
            assert getattr(getattr(one, key), "dtype", None) == getattr(getattr(found, key), "dtype", None)


@pytest.mark.parametrize("damage", ["cut", "bit", "text"])
def test_a_damaged_file_is_none(tmp_path, damage):
    cache = Cache(tmp_path, 1e6)
    cache.put("a", volume())
    file = tmp_path / "a.h5"
    content = bytearray(file.read_bytes())
    if damage == "cut":
        content = content[: len(content) // 2]
    elif damage == "bit":
        content[-200] ^= 1  # within the last chunk
    else:
        content = b"no HDF5"
    file.write_bytes(content)
    assert cache.get("a") is None


def test_the_folder_stays_within_its_limit_and_the_oldest_goes(tmp_path):
    size = volume().image.nbytes + volume().label.nbytes + volume().mask.nbytes
    early = Cache(tmp_path, 3.9 * size, began=0.0)
    for number, name in enumerate("abc"):
        early.put(name, volume(number))
        os.utime(tmp_path / f"{name}.h5", (100 + number, 100 + number))
    os.utime(tmp_path / "a.h5", (200, 200))  # a was used again
    later = Cache(tmp_path, 3.0 * size, began=150.0)
    later.put("d", volume(3))
    assert sorted(file.stem for file in tmp_path.iterdir()) == ["a", "d"]
    # what this run used stays: there is no room left for another
    full = Cache(tmp_path, 2.0 * size, began=50.0)
    full.put("e", volume(4))
    assert sorted(file.stem for file in tmp_path.iterdir()) == ["a", "d"]


def test_the_key_follows_content_steps_parameters_and_code(monkeypatch):
    one = volume()
    key = caches.content_key(one)
    others = [
        one.with_(image=one.image + np.float32(1e-7)),
        one.with_(label=one.label[::-1]),
        one.with_(label=one.label.astype(np.int32)),
        one.with_(mask=None),
        one.with_(spacing=(2.5, 1 / 3, 0.8)),
        one.with_(affine=one.affine + 1e-9),
    ]
    assert len({key, *map(caches.content_key, others)}) == 7
    assert caches.content_key(volume()) == key
    chain = caches.chain(key, ["z", "min_max", {"resize": {"size": 8}}])
    assert caches.chain(key, ["z", {"min_max": {}}, {"resize": {"size": 9}}])[:2] == chain[:2]
    assert caches.chain(key, ["z", "min_max", {"resize": {"size": 9}}])[2] != chain[2]
    assert not set(caches.chain(key, ["percentile", "min_max"])) & set(chain)
    real = modules.code_digest
    changed = modules.source("steps", "min_max")
    monkeypatch.setattr(modules, "code_digest", lambda files: real(files) + "!" * (changed in files))
    after = caches.chain(key, ["z", "min_max", {"resize": {"size": 8}}])
    assert [a == b for a, b in zip(chain, after, strict=True)] == [True, False, False]


def test_code_of_a_step_is_its_file_and_the_layers_that_it_uses():
    names = {file.stem for file in modules.layers(modules.source("steps", "resize"))}
    assert names == {"regridding"}
