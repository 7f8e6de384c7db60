"""Whether the statistics hold what they promise, and what they cost.

    python benchmarks/bearing.py coverage [--repetitions 300]
    python benchmarks/bearing.py time

``coverage`` draws Dice = row + patient (SD 8) + patient × row (3) + seed × row (2) + rest (3), for twelve
rows whose patients and seeds are crossed, and counts how often intervals hold the truth, how often twelve
equal rows are all kept, and how often the true best is kept. ``unequal``: rows' spreads are 0.5 to 1.6 times
that. ``time`` builds all tables of ``config/tables.yaml`` from the published runs, with five seeds and twenty
patients a dataset made up, and times their statistics in core-seconds.
"""

import argparse
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from segshift import grid as grids
from segshift.grid import Model
from segshift.statistics import intervals, ties
from segshift.statistics.sample import Sample
from segshift.table_entries import SelectionTable, Statistics
from segshift.tables import bearing, layout, priced, runs, selection
from segshift.tables.table import Volume

ROOT = Path(__file__).parents[1]
K = 12
# The twelve heads of the thesis's Table 4.2.
OV = (65.28, 64.95, 63.94, 63.38, 63.13, 60.87, 59.63, 59.48, 59.19, 56.88, 52.12, 45.87)
THESIS = np.array(OV) - OV[0]


def drawn(generator, seeds, n, skewed, unequal, means):
    """Dice (K, seeds, n); the truth of each row is 70 + its mean."""
    scale = np.linspace(0.5, 1.6, K)[:, None, None] if unequal else 1.0
    patient = 8 * (1 - generator.exponential(1, n)) if skewed else generator.normal(0, 8, n)
    values = patient + scale * generator.normal(0, 3, (K, 1, n))
    values = (
        values + scale * generator.normal(0, 2, (K, seeds, 1)) + scale * generator.normal(0, 3, (K, seeds, n))
    )
    return 70 + means[:, None, None] + values


def sample(values):
    """The sample of (rows, seeds, patients) on one dataset."""
    parts = values.mean(axis=1) / values.shape[2]
    moves = parts - parts.mean(axis=1, keepdims=True)
    groups = np.zeros(values.shape[2], int)
    names = tuple(("a", str(i)) for i in range(values.shape[2]))
    return Sample(values.mean(axis=(1, 2)), values.mean(axis=2), parts, moves, groups, names)


def coverage(repetitions):
    """Print a line a condition; everything in percent."""
    print("S  n  Dice    spread   row  difference  equal: all kept  0.5 ahead: kept  thesis: kept (size)")
    generator = np.random.default_rng(0)
    for seeds in (3, 5):
        for n in (15, 20, 57):
            for skewed in (False, True):
                for unequal in (False, True):
                    found = condition(generator, repetitions, seeds, n, skewed, unequal)
                    row, difference, equal, ahead, thesis, size = found
                    dice, spread = "skewed" if skewed else "normal", "unequal" if unequal else "equal  "
                    print(
                        f"{seeds} {n:>2}  {dice}  {spread}  {row:5.1f}  {difference:9.1f}  {equal:15.1f}"
                        f"  {ahead:15.1f}  {thesis:6.1f} ({size:.1f})",
                        flush=True,
                    )


def condition(generator, repetitions, seeds, n, skewed, unequal):
    """Coverage of a row and a difference, and how often tie sets are right."""
    row = difference = equal = ahead = thesis = size = 0
    lead = np.zeros(K)
    lead[K // 2] = 0.5
    for _ in range(repetitions):
        one = sample(drawn(generator, seeds, n, skewed, unequal, np.zeros(K)))
        row += holds(intervals.of_row(one, K // 2), 70)
        difference += holds(intervals.of_difference(one, K // 2, K // 2 + 1), 0)
        equal += ties.pairs(one).tied().all()
        ahead += ties.pairs(sample(drawn(generator, seeds, n, skewed, unequal, lead))).tied()[K // 2]
        tied = ties.pairs(sample(drawn(generator, seeds, n, skewed, unequal, THESIS))).tied()
        thesis += tied[0]
        size += tied.sum()
    percent = [100 * count / repetitions for count in (row, difference, equal, ahead, thesis)]
    return *percent, size / repetitions


def holds(interval, truth):
    """True if the truth lies within."""
    return interval.low <= truth <= interval.high


def full_grid():
    """Time of all statistics of all tables, five seeds and twenty patients a dataset."""
    grid = grids.read(ROOT / "config")
    found = runs.read(ROOT / "config" / "published" / "runs.csv", grid)
    found = [
        replace(run, model=run.model._replace(seed=seed), dice=min(100.0, max(0.0, run.dice + change)))
        for run in found
        for seed, change in enumerate(changes(run.model, run.target))
    ]
    spent, numbers, count = 0.0, 0, 0
    for name, entry in grid.config.tables.items():
        own = [run for run in found if run.experiment in entry.experiments]
        if not own or getattr(entry, "metric", "dice") != "dice":
            continue
        asked, tracked = runs.asked(own, grid, entry.experiments), runs.tracked(own, entry.experiments)
        scores = {score: replace(one, volumes=volumes(one)) for score, one in tracked.scores.items()}
        tracked = replace(tracked, scores=scores)
        if isinstance(entry, SelectionTable):
            table, settings = selection.build(grid, name, asked, tracked), None
        else:
            table, settings = (
                layout.build(grid, name, asked, tracked),
                Statistics(blocks="models", p_values=True),
            )
        start = time.process_time()
        made = bearing.build(table, grid, settings) if settings else priced.build(table, grid, entry)
        spent += time.process_time() - start
        count += 1
        numbers += sum(number.low is not None for number in made.numbers)
    print(
        f"{count} tables, {numbers} intervals, {len(found)} scores of 20 patients: {spent:.1f} core-seconds"
    )


def changes(model: Model, target: str) -> list[float]:
    """How five seeds of a model differ."""
    return list(np.random.default_rng(abs(hash_of(model.path, target))).normal(0, 1.5, 5))


def hash_of(*words: str) -> int:
    """The same in every process."""
    return sum(ord(letter) * (i + 1) for i, letter in enumerate("/".join(words)))


def volumes(one):
    """Twenty patients around a score, the same for all models: they share how hard a patient is."""
    generator = np.random.default_rng(hash_of(one.target))
    hard, own = (
        generator.normal(0, 6, 20),
        np.random.default_rng(hash_of(one.cell, one.target)).normal(0, 3, 20),
    )
    dice = hard - hard.mean() + own - own.mean() + one.dice
    return tuple(Volume(f"v{i}", f"p{i:02}", float(value)) for i, value in enumerate(dice))


def main():
    """Run one part."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("part", nargs="?", choices=("coverage", "time"), help="(default: both)")
    parser.add_argument("--repetitions", type=int, default=300)
    arguments = parser.parse_args()
    if arguments.part != "time":
        coverage(arguments.repetitions)
    if arguments.part != "coverage":
        full_grid()


if __name__ == "__main__":
    main()
