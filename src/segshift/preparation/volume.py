"""One volume, from its raw file to what is stored and reported of it."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from segshift import plugins
from segshift.errors import SegShiftError
from segshift.preparation import cache, cases, checks, lost, quality
from segshift.preparation.cache import Cache
from segshift.preparation.fingerprints import fingerprint
from segshift.prepared import VolumeInfo
from segshift.raw_labels import VolumeWithRawLabel
from segshift.volumes import Case


@dataclass(frozen=True, eq=False)
class Made:
    """A prepared volume with what the manifest and the quality sheet say of it.

    ``reused`` is how many of its steps came from the cache.
    """

    volume: VolumeWithRawLabel
    fingerprint: dict[str, Any]
    lost: lost.Lost
    sample: quality.Sample
    reused: int


def prepare(case: Case, settings: dict[str, Any], kept: Cache | None = None) -> Made:
    """Read, check and pre-process one volume.

    Raises:
        SegShiftError: naming the volume, its patient and file, and what is wrong.
    """
    try:
        return _prepare(case, settings, kept)
    except SegShiftError as error:
        raise SegShiftError(f"{cases.name_of(case)}: {error}") from error


def _prepare(case: Case, settings: dict[str, Any], kept: Cache | None) -> Made:
    classes = len(settings["classes"])
    raw = plugins.load("datasets", settings["reader"]["module"]).read(case)
    checks.before(raw, settings)
    raw = raw.with_(label=cases.map_labels(raw.label, settings))
    checks.foreground(raw.label, settings)
    done, reused = cache.apply(raw, settings.get("preprocess") or [], kept)
    checks.after(done)
    missing = lost.measure(raw, done, classes)
    lost.check_volume(missing, settings)
    label = done.label.astype(np.uint8)
    info = VolumeInfo(
        id=case.id,
        patient=f"{settings.get('patients') or settings['dataset']}:{case.patient}",
        slices=len(label),
        shape=label.shape[1:],
        spacing=tuple(float(side) for side in done.spacing),
        affine=np.asarray(done.affine, np.float64),
        raw_shape=raw.label.shape,
        raw_affine=np.asarray(raw.affine, np.float64),
    )
    image = np.clip(done.image, 0, 1).astype(np.float16)
    counts = np.array([np.bincount(each.ravel(), minlength=classes) for each in label], np.uint32)
    volume = VolumeWithRawLabel(info, image, label, counts, raw.label)
    return Made(volume, fingerprint(raw.image, image), missing, quality.sample(image, label, raw), reused)
