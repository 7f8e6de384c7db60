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


class Way(NamedTuple):
    """A loader, what is done with each of its batches, and how many are taken in a turn."""

    loader: DataLoader
    finish: Callable[[Any], Any]
    batches: int


def rates(ways: dict[str, Way], size: int, warm: int = 4, turns: int = 8) -> dict[str, Rate]:
    """Rates over batches of ``size`` slices, after some that do not count.

    The ways take turns, so that what else the machine does disturbs all of them alike.
    """
    iterators = {name: iter(way.loader) for name, way in ways.items()}
    workers = {name: [one.pid for one in getattr(it, "_workers", [])] for name, it in iterators.items()}
    for name, way in ways.items():
        for _ in range(warm):
            way.finish(next(iterators[name]))
    begun = {name: sum(map(_of_process, pids)) for name, pids in workers.items()}
    seconds, own = dict.fromkeys(ways, 0.0), dict.fromkeys(ways, 0.0)
    for _ in range(turns):
        for name, way in ways.items():
            started, core = time.perf_counter(), time.process_time()
            for _ in range(way.batches):
                way.finish(next(iterators[name]))
            seconds[name] += time.perf_counter() - started
            own[name] += time.process_time() - core
    found = {}
    for name, way in ways.items():
        slices = turns * way.batches * size
        core = own[name] + sum(map(_of_process, workers[name])) - begun[name]
        found[name] = Rate(slices / seconds[name], slices / core)
    return found


def _of_process(pid: int) -> float:
    """Core-seconds of another process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK
