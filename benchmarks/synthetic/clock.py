"""Rates of data loaders, by the clock and by the processor."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from torch.utils.data import DataLoader

TICK = os.sysconf("SC_CLK_TCK")


class Rate(NamedTuple):
    """Slices per second by the clock, and per core-second of all processes together."""

    second: float
    core: float

    def __str__(self) -> str:
        return f"{self.second:.0f} slices/s, {self.core:.0f} a core-second"


def rate(loader: DataLoader, finish: Callable[[Any], Any], warm: int, batches: int, size: int) -> Rate:
    """Rates over some batches of ``size`` slices, each through ``finish``, after some that do not count."""
    iterator = iter(loader)
    workers = [worker.pid for worker in getattr(iterator, "_workers", [])]
    for number in range(1, warm + batches + 1):
        finish(next(iterator))
        if number == warm:
            started, core = time.perf_counter(), core_seconds(workers)
    took, spent = time.perf_counter() - started, core_seconds(workers) - core
    return Rate(batches * size / took, batches * size / spent)


def core_seconds(others: list[int]) -> float:
    """Of this process and of others, so far."""
    total = time.process_time()
    for pid in others:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += (int(fields[11]) + int(fields[12])) / TICK
    return total
