"""Write ``docs/parameters.csv`` and ``docs/models.md``: ``python docs/generate.py``.

Both follow from ``config/``, from the modules, from ``config/published/parameters.csv`` (what the thesis
prints) and from ``docs/models.yaml`` (sources and diagrams). Run it after an entry was added or changed.
"""

import sys
from pathlib import Path

from segshift import grid
from segshift.counts import Counter

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "docs"))

import models_page  # noqa: E402
import parameters_table  # noqa: E402


def texts(counter: Counter) -> dict[str, str]:
    """The content of each generated file, by its path below the root."""
    config = grid.read(ROOT / "config").config
    return {
        "docs/parameters.csv": parameters_table.text(config, counter),
        "docs/models.md": models_page.text(config, counter),
    }


if __name__ == "__main__":
    for name, text in texts(Counter()).items():
        part = ROOT / f"{name}.part"
        part.write_text(text)
        part.replace(ROOT / name)
