"""Numbers of an epoch, step by step, and their means at its end. They survive an interruption."""

from typing import Any


class Curves:
    """Sums over the steps of the epoch that is under way."""

    def __init__(self) -> None:
        self.sums: dict[str, list[float]] = {}  # name -> [weighted sum, sum of weights]
        self.images, self.seconds = 0, 0.0

    def add(self, numbers: dict[str, float], weight: float = 1.0) -> None:
        """Numbers of a step; not every step has them all."""
        for name, value in numbers.items():
            total = self.sums.setdefault(name, [0.0, 0.0])
            total[0] += weight * value
            total[1] += weight

    def means(self) -> dict[str, float]:
        """The mean of each, over those that said it."""
        return {name: total / weight for name, (total, weight) in self.sums.items()}

    def timed(self, images: int, seconds: float) -> None:
        """So many slices took so long, from one step's end to the next: reading, augmentation and all."""
        self.images += images
        self.seconds += seconds

    def end(self) -> dict[str, float]:
        """The epoch's points, each name under ``epoch/``; and start anew."""
        means = {f"epoch/{name}": value for name, value in self.means().items()}
        if self.seconds:
            means["epoch/images_per_second"] = self.images / self.seconds
        self.__init__()
        return means

    def state(self) -> dict[str, Any]:
        """What a saved state holds of it."""
        return {"sums": self.sums, "images": self.images, "seconds": self.seconds}

    def load_state(self, state: dict[str, Any]) -> None:
        """The inverse of ``state``."""
        self.sums = {name: list(total) for name, total in state["sums"].items()}
        self.images, self.seconds = state["images"], state["seconds"]
