"""Whose draws from the data a cell sees: those of its own seed, or of the first one (``seeds_share``)."""

from segshift.entries import Config
from segshift.errors import SegShiftError
from segshift.identity import Model


class SamplingSeeds:
    """What the experiments of a configuration say, collected while they are expanded."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self._found: dict[Model, tuple[int | None, str]] = {}  # a cell's seed, and who says so

    def note(self, experiment: str, cell: Model, first: int) -> None:
        """An experiment has this cell; ``first`` is the first of its seeds.

        Raises:
            SegShiftError: another experiment has the same cell with other draws, but it is one model.
        """
        said = self.config.experiments[experiment].seeds_share or self.config.project.seeds_share
        seed = first if said == "sampling" else None
        known, other = self._found.setdefault(cell, (seed, experiment))
        if known != seed:
            one, two = (f"the draws of seed {it}" if it is not None else "its own" for it in (known, seed))
            raise SegShiftError(
                f"{self.config.folder}/experiments.yaml: {cell.path} has {one} in {other} and {two} in "
                f"{experiment}, but it is one model; give both the same seeds_share and first seed"
            )

    def of(self, model: Model) -> int | None:
        """The seed of all that a model draws from the data, where seeds share that; None: its own."""
        project = self.config.project
        usual = project.seeds[0] if project.seeds_share == "sampling" and project.seeds else None
        return self._found.get(model.cell, (usual, ""))[0]

    def section(self, model: Model) -> dict[str, int]:
        """What a model's settings say of it."""
        seed = self.of(model)
        return {} if seed is None else {"sampling_seed": seed}
