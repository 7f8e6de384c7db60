"""A proposal becomes text at the end of config files; comments, order and all else in them stay."""

import shutil
import tempfile
from pathlib import Path
from typing import Any

import yaml

from segshift import config as configuration
from segshift import splits
from segshift.adding.propose import Proposal
from segshift.config import Config
from segshift.errors import SegShiftError


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def texts(proposal: Proposal, source: str, seed: int) -> dict[str, str]:
    """What is written, by file below the configuration; what exists already is appended to.

    Args:
        proposal: what.
        source: where the data is, for the comment.
        seed: of the drawn lists.
    """
    comment = f"# from `segshift add-dataset {source}`\n"
    found = {}
    if proposal.lists is not None:
        found[f"splits/{proposal.name}.yaml"] = (
            f"# Patients of {proposal.name}. What its files did not tell was drawn with seed {seed}.\n"
            f"# Change it before the first training, never after.\n{splits.text(proposal.lists)}"
        )
    if proposal.anatomy is not None:
        found["anatomies.yaml"] = comment + _yaml({proposal.entry["anatomy"]: proposal.anatomy})
    found["datasets.yaml"] = comment + _yaml({proposal.name: proposal.entry})
    return found


def _yaml(content: dict[str, Any]) -> str:
    """Entries as people write them: a key a line, what is in it on that line."""
    lines = []
    for name, entry in content.items():
        lines.append(f"{name}:")
        for key, value in entry.items():
            text = yaml.dump(
                value,
                Dumper=_Dumper,
                default_flow_style=True,
                sort_keys=False,
                width=10**6,
                allow_unicode=True,
            )
            lines.append(f"  {key}: {text.removesuffix('...' + chr(10)).strip()}")
    return "\n".join(lines) + "\n"


def check(config_folder: Path, added: dict[str, str]) -> Config:
    """The configuration as it would be; nothing of it is touched.

    Raises:
        SegShiftError: what is wrong with it.
    """
    with tempfile.TemporaryDirectory() as where:
        copy = Path(where) / config_folder.resolve().name
        for file in config_folder.rglob("*.yaml"):
            (copy / file.relative_to(config_folder)).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy / file.relative_to(config_folder))
        _write(copy, added)
        try:
            return configuration.read(copy)
        except SegShiftError as error:
            raise SegShiftError(str(error).replace(str(copy), str(config_folder))) from None


def write(config_folder: Path, added: dict[str, str]) -> list[Path]:
    """Write it, each file by rename, datasets.yaml last: a crash leaves no entry whose lists are missing.

    Raises:
        SegShiftError: the configuration would not be right, or a file of splits is there already.
    """
    check(config_folder, added)
    return _write(config_folder, added)


def _write(config_folder: Path, added: dict[str, str]) -> list[Path]:
    for name in added:
        if name.startswith("splits/") and (config_folder / name).exists():
            raise SegShiftError(f"{config_folder / name} is there already; choose another --name")
    for name, text in added.items():
        append(config_folder / name, text)
    return [config_folder / name for name in added]


def append(file: Path, text: str) -> None:
    """Add text at the end of a file, which need not be there, by rename."""
    before = file.read_text() if file.exists() else ""
    if before and not before.endswith("\n"):
        before += "\n"
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f"{file.name}.part")
    try:
        part.write_text(before + text)
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)
