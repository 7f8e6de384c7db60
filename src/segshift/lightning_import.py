"""Lightning, without what its library of metrics loads for plots, texts and pictures.

`import pytorch_lightning` loads torchmetrics, of which it needs the class ``Metric`` alone, and that loads
Transformers, Matplotlib and torchvision where they are installed: two of the six core-seconds that a training
spends on imports. Here torchmetrics is told that they are not, while it is loaded and no longer.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from lightning_utilities.core.imports import RequirementCache

__all__ = ["LightningEnvironment", "LightningModule", "Trainer"]
UNUSED = ("matplotlib", "scienceplots", "torchvision", "transformers")


@contextmanager
def _as_if_not_installed(names: tuple[str, ...]) -> Iterator[None]:
    known = RequirementCache.__bool__

    def there(cache: RequirementCache) -> bool:
        return not str(cache.requirement or cache.module).startswith(names) and known(cache)

    RequirementCache.__bool__ = there
    try:
        yield
    finally:
        RequirementCache.__bool__ = known


with _as_if_not_installed(UNUSED):
    from pytorch_lightning import LightningModule, Trainer
    from pytorch_lightning.plugins.environments import LightningEnvironment
