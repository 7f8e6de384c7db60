"""Rates of data loaders, by the clock and by the processor."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import psutil
from torch.utils.data import DataLoader


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


def rates(ways: dict[str, Way], size: int, warm: int = 8, turns: int = 4) -> dict[str, Rate]:
    """Rates over batches of ``size`` slices.

    The ways take turns, so that what else the machine does disturbs all of them alike. The workers of a way
    stand still while it is not its turn, and the first batches of a turn, which may lie ready, do not count.
    """
    iterators, workers, known = {}, {}, set()
    for name, way in ways.items():
        iterators[name] = iter(way.loader)
        way.finish(next(iterators[name]))  # now its workers are there
        everyone = {child.pid for child in psutil.Process().children()}
        workers[name], known = list(everyone - known), everyone
    seconds, cores = dict.fromkeys(ways, 0.0), dict.fromkeys(ways, 0.0)
    try:
        for name in ways:
            _send(workers[name], signal.SIGSTOP)
        for _ in range(turns):
            for name, way in ways.items():
                _send(workers[name], signal.SIGCONT)
                for _ in range(warm):
                    way.finish(next(iterators[name]))
                started, core = time.perf_counter(), _core_seconds(workers[name])
                for _ in range(way.batches):
                    way.finish(next(iterators[name]))
                seconds[name] += time.perf_counter() - started
                cores[name] += _core_seconds(workers[name]) - core
                _send(workers[name], signal.SIGSTOP)
    finally:
        for pids in workers.values():  # they end when they are told to
            _send(pids, signal.SIGCONT)
    slices = {name: turns * way.batches * size for name, way in ways.items()}
    return {name: Rate(slices[name] / seconds[name], slices[name] / cores[name]) for name in ways}


def _send(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        os.kill(pid, number)


def _core_seconds(pids: list[int]) -> float:
    """What this process and others have used so far."""
    others = (Path(f"/proc/{pid}/schedstat").read_text().split()[0] for pid in pids)
    return time.process_time() + sum(map(int, others)) / 1e9
