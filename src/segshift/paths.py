"""Where every file lies below ``results/``. Nothing else builds such a path."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from segshift.errors import SegShiftError


class Results:
    """The folder that a workflow fills; ``root`` is ``results`` unless said otherwise."""

    def __init__(self, root: str | Path = "results") -> None:
        self.root = Path(root)

    @property
    def home(self) -> Path:
        """Folder that `raw` and `weights` of project.yaml are relative to: the one that holds this."""
        return self.root.resolve().parent

    def data(self, dataset: str) -> Path:
        """Folder of a prepared dataset: settings.yaml, manifest.json and one HDF5 file a split."""
        return self.root / "data" / dataset

    def weights(self, name: str) -> Path:
        """A fetched and checked weights file."""
        return self.root / "weights" / name

    def weights_record(self, name: str) -> Path:
        """The sha256 of a weights file whose entry has none."""
        return self.root / "weights" / f"{name}.sha256"

    def run(self, model: str) -> Path:
        """Folder of a model: ``source/backbone/tuning/head/seed`` or that with ``/adapt/target``."""
        return self.root / "runs" / model

    @property
    def rows(self) -> Path:
        """Markers of models that rows may train, logs of rows, and which models the workflow wants."""
        return self.root / "rows"

    @property
    def config(self) -> Path:
        """The configuration with which the running (or last) workflow started."""
        return self.root / ".config"

    @property
    def slurm(self) -> Path:
        """What Slurm said of each job; it exists once jobs were submitted from here."""
        return self.root / "slurm"

    @property
    def tables(self) -> Path:
        return self.root / "tables"

    @property
    def figures(self) -> Path:
        """Pictures for papers: one figure as SVG, PDF and PNG."""
        return self.root / "figures"

    @property
    def tracking(self) -> Path:
        return self.root / "tracking"

    @property
    def report(self) -> Path:
        return self.root / "report.html"


def write(file: Path, text: str) -> None:
    """Write by rename: a reader sees the old file or the new one."""
    part = file.with_name(f"{file.name}.part")
    part.parent.mkdir(parents=True, exist_ok=True)
    part.write_text(text)
    part.replace(file)


@contextmanager
def appearing(folder: Path) -> Iterator[Path]:
    """A folder to fill, which takes its name when it is complete, and goes if something goes wrong.

    Raises:
        SegShiftError: there is something of that name.
    """
    folder = folder.resolve()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise SegShiftError(f"{folder} is there already; name another folder, or remove it")
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        yield part
        if folder.exists():
            folder.rmdir()
        part.rename(folder)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise


def locate(cell: str | Path, root: str | Path = "results") -> tuple[Results, str]:
    """Results folder and path of a model, from its folder or from its path alone.

    ``results/runs/hcp1/unet/full/own/42`` and ``hcp1/unet/full/own/42`` are the same model.

    Raises:
        SegShiftError: it has not the parts of a model's path.
    """
    parts = Path(cell).parts
    results = Results(root)
    if "runs" in parts:
        at = len(parts) - 1 - parts[::-1].index("runs")
        results, parts = Results(Path(*parts[:at]) if at else "."), parts[at + 1 :]
    if len(parts) not in (5, 7) or not parts[4].isdigit():
        raise SegShiftError(
            f"{cell} is no cell; write source/backbone/tuning/head/seed, with /adapt/target if adapted"
        )
    return results, "/".join(parts)
