"""Putting the files of a finished model in their place, so that whoever is killed between two of them loses
none.

Finished files are made ready in ``resume/ready`` first, and stay there as hard links: a workflow manager that
was killed removes the declared ones of jobs that finished without it.
"""

import os
import shutil
from pathlib import Path


def make_ready(folder: Path, checkpoints: dict[str, Path], record: str) -> None:
    """Fill ``resume/ready`` of a model's folder, all at once.

    Args:
        folder: the model's.
        checkpoints: files by the names that they will have.
        record: text of run.json.
    """
    ready, part = folder / "resume" / "ready", folder / "resume" / "ready.part"
    shutil.rmtree(part, ignore_errors=True)
    shutil.rmtree(ready, ignore_errors=True)
    part.mkdir(parents=True)
    for name, file in checkpoints.items():
        link(file, part / name)
    (part / "run.json").write_text(record)
    part.rename(ready)


def place(folder: Path) -> bool:
    """Put finished files in place from ``resume/ready``; True if there were some. run.json comes last."""
    ready = folder / "resume" / "ready"
    if not (ready / "run.json").exists():
        return False
    for file in sorted(ready.iterdir(), key=lambda file: file.name == "run.json"):
        part = folder / f"{file.name}.part"
        part.unlink(missing_ok=True)
        link(file, part)
        part.replace(folder / file.name)
        part.unlink(missing_ok=True)  # to rename one name of a file onto another of its names does nothing
    for file in (folder / "resume").glob("*.ckpt"):
        file.unlink()
    return True


def folder(model: Path) -> Path:
    """Where the finished files of a model's folder lie: in it, or ready to be put there."""
    ready = model / "resume" / "ready"
    return ready if (ready / "run.json").exists() else model


def link(source: Path, to: Path) -> None:
    """Give a file a second name, or copy it where there are no hard links."""
    try:
        os.link(source, to)
    except OSError:
        shutil.copyfile(source, to)
