"""The GPU of this machine, Slurm, and what site.yaml asks of it."""

import getpass
import re
import shutil
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from segshift import site
from segshift.doctor.finding import Finding, ask
from segshift.errors import SegShiftError

FIELDS = "%R|%G|%m"  # of sinfo: partition, generic resources, memory of a node in MB


def gpu() -> Iterable[Finding]:
    """What the driver tells, and whether the installed PyTorch can use it; neither is loaded."""
    if not shutil.which("nvidia-smi"):
        yield Finding("note", "gpu", "there is no NVIDIA driver here", "here, trainings run on the CPU")
        return
    words = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    try:
        found = [line.strip() for line in ask(words).splitlines() if line.strip()]
    except SegShiftError as error:
        yield Finding("note", "gpu", str(error), "mend the driver, or train on the CPU")
        return
    if not found:
        yield Finding("note", "gpu", "the driver sees no GPU", "here, trainings run on the CPU")
        return
    cuda = _cuda()
    if cuda is None:
        yield Finding("fix", "gpu", f"{'; '.join(found)}, but PyTorch is built without CUDA", "make install")
    else:
        yield Finding("ok", "gpu", f"{'; '.join(found)}; PyTorch for CUDA {cuda}")


def _cuda() -> str | None:
    """CUDA's version that PyTorch was built for, from its file: to import it takes seconds."""
    spec = find_spec("torch")
    for place in (spec.submodule_search_locations or []) if spec else []:
        match = re.search(r"^cuda\b.*=\s*['\"]([\d.]+)['\"]", (Path(place) / "version.py").read_text(), re.M)
        return match[1] if match else None
    return None


class Partition(NamedTuple):
    """Of Slurm: its generic resources such as ``gpu:a100:4``, and the largest node's memory in MB."""

    resources: set[str]
    memory: int


def slurm(defaults: Path, own: Path) -> Iterable[Finding]:
    """site.yaml, and whether Slurm has what it names.

    Args:
        defaults: ``site.example.yaml``.
        own: ``site.yaml``, which may be missing.

    Raises:
        SegShiftError: a mistake in either.
    """
    known = site.read(defaults, own)
    said = str(own) if own.exists() else f"no {own}: every rule asks for what {defaults.name} says"
    yield Finding("ok", "site.yaml", said)
    if not shutil.which("sinfo"):
        named = sorted({one["slurm_partition"] for one in known.values() if "slurm_partition" in one})
        to_do = f"{own} names {', '.join(named)}: log in where sinfo works" if named else ""
        yield Finding("note", "slurm", "none here; `snakemake` runs on this machine", to_do)
        return
    try:
        partitions = parse(ask(["sinfo", "--noheader", f"--format={FIELDS}"]))
    except SegShiftError as error:
        wanted = any(key.startswith("slurm_") for one in known.values() for key in one)
        to_do = "`snakemake` runs on this machine; `snakemake --profile slurm` needs it: docs/cluster.md"
        yield Finding("fix" if wanted else "note", "slurm", str(error), to_do)
        return
    to_do = "snakemake --profile slurm: docs/cluster.md"
    yield Finding("ok", "slurm", f"partitions {', '.join(sorted(partitions))}", to_do)
    for rule, needs in known.items():
        yield from _rule(f"site.yaml: {rule}", needs, partitions)
    yield from _accounts({one["slurm_account"] for one in known.values() if "slurm_account" in one})


def parse(text: str) -> dict[str, Partition]:
    """Partitions from what sinfo prints; it has a line for each kind of node in each."""
    found: dict[str, Partition] = {}
    for line in text.splitlines():
        name, resources, memory = line.strip().split("|")
        # a GPU may have sockets behind it, gpu:a100:4(S:0-1), and a size may end with +
        new = {re.sub(r"\(.*", "", one) for one in resources.split(",") if one and not one.startswith("(")}
        before = found.get(name, Partition(set(), 0))
        found[name] = Partition(before.resources | new, max(before.memory, int(memory.rstrip("+"))))
    return found


def _rule(subject: str, needs: dict, partitions: dict[str, Partition]) -> Iterable[Finding]:
    """What a rule asks for that no partition has."""
    known = ", ".join(sorted(partitions))
    if "slurm_partition" not in needs:
        to_do = f"if jobs are refused, name one as slurm_partition: {known}"
        yield Finding("note", subject, "no slurm_partition, so Slurm's default is taken", to_do)
    named = [name for name in str(needs.get("slurm_partition", "")).split(",") if name] or list(partitions)
    for name in named:
        if name not in partitions:
            yield Finding("fix", subject, f"there is no partition {name}", f"name one of {known}")
    own = [partitions[name] for name in named if name in partitions]
    if not own:
        return
    where = f"no node of {', '.join(named)} has"
    if needs["mem_mb"] > (most := max(one.memory for one in own)):
        yield Finding("fix", subject, f"{where} {needs['mem_mb']} MB", f"mem_mb: at most {most}")
    if needs.get("gpu"):
        models = {one for partition in own for one in partition.resources if one.split(":")[0] == "gpu"}
        model = needs.get("gpu_model")
        if not models:
            yield Finding("fix", subject, f"{where} a GPU", "another slurm_partition, or gpu: 0")
        elif model and not any(model in one.split(":") for one in models):
            yield Finding("fix", subject, f"{where} a GPU {model}", f"gpu_model: {', '.join(sorted(models))}")


def _accounts(named: set[str]) -> Iterable[Finding]:
    """Accounts that site.yaml names, where Slurm keeps any."""
    if not named:
        return
    words = ["sacctmgr", "--noheader", "--parsable2", "show", "associations", f"user={getpass.getuser()}"]
    try:
        known = {line.strip() for line in ask([*words, "format=account"]).splitlines() if line.strip()}
    except SegShiftError as error:
        yield Finding(
            "note", "site.yaml", f"whether {', '.join(sorted(named))} is yours cannot be told: {error}"
        )
        return
    for account in sorted(named):
        if account in known:
            yield Finding("ok", "site.yaml", f"slurm_account {account} is yours")
        else:
            yours = ", ".join(sorted(known)) or "none"
            yield Finding("fix", "site.yaml", f"slurm_account {account} is not yours", f"yours: {yours}")
