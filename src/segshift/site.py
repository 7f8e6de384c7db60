"""What a job of each rule needs of the machine: the documented defaults, with a site's own file laid over
them.

Numbers never depend on it, so nothing here reaches a model's settings.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from segshift.config import read_yaml
from segshift.errors import SegShiftError, unknown

NUMBERS = ("threads", "mem_mb", "runtime", "gpu", "workers", "disk_mb", "grace", "heads")
WORDS = ("gpu_model", "constraint", "qos", "slurm_partition", "slurm_account", "slurm_extra")
GROWING = ("mem_mb", "runtime")
ALL = "all"  # keys for every rule
ROW, ROWS_OF = "row", "train"  # what a row does not say it takes from a single training
EARLY = 60  # seconds that Slurm may send a signal before its time

Site = dict[str, dict[str, Any]]


def read(defaults: str | Path, own: str | Path) -> Site:
    """The needs of every rule.

    Args:
        defaults: ``config/site.example.yaml``; it names all rules.
        own: ``config/site.yaml``; it may be missing, and holds only what differs.

    Raises:
        SegShiftError: an unknown rule or key, or a value of the wrong kind.
    """
    site: Site = _checked(Path(defaults))
    written = _checked(Path(own), site) if Path(own).exists() else {}
    everywhere, everywhere_here = site.pop(ALL, {}), written.pop(ALL, {})
    for rule, values in site.items():
        base = site[ROWS_OF] | values if rule == ROW else everywhere | values | everywhere_here
        site[rule] = base | written.get(rule, {})
        _check_grace(f"{own if rule in written else defaults}: {rule}", site[rule])
    return site


def needs(site: Site, rule: str, gpu: bool = True) -> dict[str, Any]:
    """The resources of a rule's jobs, all but threads.

    ``mem_mb`` and ``runtime`` are functions of (wildcards, attempt) that grow by half of their value with
    each attempt, so that a job that ran out of either is not tried again with the same. ``grace`` becomes
    Slurm's option that sends the job's program a signal before the time limit.

    Args:
        site: what ``read`` returned.
        rule: a rule's name.
        gpu: False leaves the GPU out, on a machine without one: its jobs must not wait for each other.

    Raises:
        SegShiftError: an unknown rule.
    """
    if rule not in site:
        raise unknown("unknown rule", rule, site)
    left_out = {"threads", "grace", "heads"} | (set() if gpu else {"gpu", "gpu_model"})
    asked = {
        key: _grows(value) if key in GROWING else value
        for key, value in site[rule].items()
        if key not in left_out
    }
    if grace := site[rule].get("grace"):  # to the step, never to the batch shell, which would end at once
        asked["slurm_extra"] = f"--signal=TERM@{grace} {site[rule].get('slurm_extra', '')}".strip()
    return asked


def local_gpu() -> bool:
    """True if this machine has an NVIDIA GPU. Asks the driver's files: torch takes seconds to load."""
    return any(Path("/proc/driver/nvidia/gpus").glob("*")) or Path("/dev/nvidia0").exists()


def _grows(value: int) -> Callable[[Any, int], int]:
    return lambda wildcards, attempt: value * (attempt + 1) // 2


def _checked(file: Path, known: Site | None = None) -> Site:
    content = read_yaml(file)
    if not isinstance(content, dict):
        raise SegShiftError(f"{file} must hold a line `rule: {{key: value}}` for each rule, not {content!r}")
    for rule, values in content.items():
        if known is not None and rule not in known:
            raise unknown(f"{file}: unknown rule", rule, known)
        if not isinstance(values, dict):
            raise SegShiftError(f"{file}: {rule} must be {{key: value}}, not {values!r}")
        for key, value in values.items():
            _check(f"{file}: {rule}", key, value, rule)
    return content


def _check_grace(where: str, values: dict[str, Any]) -> None:
    grace, runtime = values.get("grace", 0), values.get("runtime")
    if grace and runtime and grace + EARLY >= 60 * runtime:
        raise SegShiftError(
            f"{where}: a grace of {grace} s, which Slurm may begin {EARLY} s early, leaves nothing of a "
            f"runtime of {runtime} min; `grace: 0` sends no signal"
        )


def _check(where: str, key: str, value: Any, rule: str) -> None:
    if key not in (*NUMBERS, *WORDS) or (key == "heads" and rule != ROW):
        known = [name for name in (*NUMBERS, *WORDS) if name != "heads" or rule == ROW]
        raise unknown(f"{where}: unknown key", key, known)
    if key in WORDS and not isinstance(value, str):
        raise SegShiftError(f"{where}: {key} must be text, not {value!r}")
    least = 0 if key in ("gpu", "workers", "grace", "heads") else 1
    if key in NUMBERS and (not isinstance(value, int) or isinstance(value, bool) or value < least):
        raise SegShiftError(f"{where}: {key} must be a whole number of at least {least}, not {value!r}")
