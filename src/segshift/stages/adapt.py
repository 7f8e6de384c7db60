"""`segshift adapt CELL…`: adapt trained models to a target. The loop, the resume and the files are those of
`train`."""

from segshift.stages import train


def run(
    cells: list[str], root: str = "results", device: str = "auto", workers: int = 0, heads: int = 0
) -> int:
    """Adapt the given cells (``source/backbone/tuning/head/seed/adapt/target``); see ``train.run``."""
    return train.run(cells, root, device, workers, adapt=True, heads=heads)
