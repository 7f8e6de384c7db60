"""`prepare` of volumes of 256³ with N4, with one worker and with two: seconds and peak memory.

Four volumes as float32 stacks in HDF5 go through N4 (every fourth voxel of each axis, 4 levels of at most
50 iterations), percentile, resampling and crop. Each run is a process of its own, without a cache; then once
more with what the first one kept. Core-seconds do not depend on what else the machine does. Memory is the
resident peak of each process, workers beside the one that writes.
"""

import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import h5py
import numpy as np
import psutil
import yaml

SIDE = int(os.environ.get("SIDE", 256))
COUNTS = {"train": 2, "validation": 1, "test": 1}
STEPS = [{"n4": {"shrink": 4}}, "percentile", {"resample": {"pixel": 0.9}}, {"crop_pad": {"size": SIDE}}]
CODE = """
import sys
from pathlib import Path
from segshift.stages import prepare
if __name__ == "__main__":
    prepare.run("bench", Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), cache=float(sys.argv[4]))
"""


def volume(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A head-like ball with a smooth bias, noise, and four classes in rings."""
    random = np.random.default_rng(seed)
    z, y, x = np.meshgrid(*[np.linspace(-1, 1, SIDE, dtype=np.float32)] * 3, indexing="ij", sparse=True)
    shift = random.normal(0, 0.05, 3).astype(np.float32)
    radius = np.sqrt((z - shift[0]) ** 2 + (y - shift[1]) ** 2 + (x - shift[2]) ** 2)
    label = np.where(radius < 0.7, 1 + (radius * 5).astype(np.uint8), 0).astype(np.uint8)
    image = (label * 50).astype(np.float32) * np.exp(0.3 * x - 0.2 * y + 0.1 * z)
    image += (label > 0) * random.normal(0, 3, image.shape).astype(np.float32)
    return np.maximum(image, 0), label


def write(folder: Path) -> None:
    """Raw files and settings."""
    seed, raw = 0, folder / "raw"
    raw.mkdir()
    for split, count in COUNTS.items():
        with h5py.File(raw / f"{split}.hdf5", "w") as content:
            for key, kind in (("images", np.float32), ("labels", np.uint8)):
                content.create_dataset(key, (count, SIDE, SIDE, SIDE), kind)
            content["nz"] = [SIDE] * count
            for index in range(count):
                content["images"][index], content["labels"][index] = volume(seed)
                seed += 1
    settings = {
        "dataset": "bench",
        "classes": list("abcde"),
        "plane": "axial",
        "modality": "T1w",
        "splits": None,
    }
    settings |= {"preprocess": STEPS, "lost_labels": 0.02, "accept": ["duplicates"]}
    settings["reader"] = {"module": "hdf5_stack", "files": {split: f"{split}.hdf5" for split in COUNTS}}
    data = folder / "results" / "data" / "bench"
    data.mkdir(parents=True)
    (data / "settings.yaml").write_text(yaml.safe_dump(settings))
    (folder / "run.py").write_text(CODE)


def measured(folder: Path, workers: int, cache: float) -> tuple[float, float, float, float]:
    """Seconds, core-seconds, and the peak in GB of the process that writes and of the largest worker."""
    words = [sys.executable, folder / "run.py", folder / "results", folder / "raw", workers, cache]
    began, used = time.monotonic(), core_seconds()
    process = subprocess.Popen([str(word) for word in words], stdout=subprocess.DEVNULL)
    peaks: dict[int, int] = {}
    over = threading.Event()

    def watch() -> None:
        root = psutil.Process(process.pid)
        while not over.wait(0.05):
            try:
                for one in (root, *root.children(recursive=True)):
                    peaks[one.pid] = max(peaks.get(one.pid, 0), one.memory_info().rss)
            except psutil.Error:
                continue

    watcher = threading.Thread(target=watch)
    watcher.start()
    code = process.wait()
    seconds = time.monotonic() - began
    over.set()
    watcher.join()
    if code:
        raise SystemExit(f"prepare ended with {code}")
    main = peaks.pop(process.pid)
    return seconds, core_seconds() - used, main / 1e9, max(peaks.values(), default=0) / 1e9


def core_seconds() -> float:
    """Of all processes that ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    volumes = sum(COUNTS.values())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder)
        print(f"{volumes} volumes of {SIDE}³, N4 with shrink 4; {os.cpu_count()} cores")
        alone = None
        for workers, cache, what in (
            (1, 0, "no cache"),
            (2, 10, "filling the cache"),
            (2, 10, "from the cache"),
        ):
            seconds, cores, own, worker = measured(folder, workers, cache)
            alone = alone or seconds
            each = f", each worker {worker:.2f} GB" if workers > 1 else ""
            print(
                f"workers {workers}, {what}: {seconds / volumes:.1f} s, {cores / volumes:.1f} core-s each, "
                f"speed {alone / seconds:.2f} of one worker; peak {own:.2f} GB{each}"
            )
        kept = sum(file.stat().st_size for file in (folder / "results" / "cache").iterdir())
        print(f"cache: {kept / 1e6 / volumes:.0f} MB a volume, for {len(STEPS)} steps")


if __name__ == "__main__":
    main()
