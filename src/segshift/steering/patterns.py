"""Which cells a word of the command line means: a path, a folder, or a pattern such as ``hcp1/*/frozen``."""

from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path

from segshift.errors import SegShiftError
from segshift.grid import Grid, Model
from segshift.paths import Results, locate

MAGIC = set("*?[")
TRAINED = 5  # parts of the path of a trained cell


def is_pattern(word: str) -> bool:
    """True if a word may mean several cells."""
    return bool(MAGIC & set(word))


def chosen(grid: Grid | None, results: Results, words: Iterable[str]) -> list[tuple[Results, str]]:
    """Models that words mean, each once, and where; of those that a pattern means, the ones with a folder.

    A pattern speaks of the axes in their order, and of all choices of those that it does not reach:
    ``hcp1/*/frozen`` are all trained cells of frozen backbones on hcp1. With more than five parts it speaks
    of adapted models, and of those alone.

    Raises:
        SegShiftError: a path is none or not there, or nothing is as a pattern says.
    """
    found: dict[tuple[Path, str], Results] = {}
    for word in words:
        if not is_pattern(word):
            other, path = locate(word, results.root)
            if not other.run(path).is_dir():
                raise SegShiftError(f"{other.run(path)} is not there")
            found.setdefault((other.root, path), other)
            continue
        parts = Path(word).parts
        parts = parts[parts.index("runs") + 1 :] if "runs" in parts else parts
        jobs = grid.jobs if grid else {}
        there = [path for path, model in jobs.items() if _fits(model, parts)]
        if not there:
            raise SegShiftError(f"no cell of the experiments is as {word}; segshift cells lists them")
        found |= {(results.root, path): results for path in there if results.run(path).is_dir()}
    return [(other, path) for (_, path), other in found.items()]


def _fits(model: Model, parts: tuple[str, ...]) -> bool:
    names = model.path.split("/")
    if (len(parts) > TRAINED) != bool(model.adapt) or len(parts) > len(names):
        return False
    return all(fnmatchcase(name, part) for name, part in zip(names, parts, strict=False))
