"""The digest of the code that decides a model, for a whole grid at once.

To parse all sources takes as long as to look at two thousand folders, so digests are remembered below
``results/`` together with sizes and time stamps of all source files; a memory that is lost costs only time.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from segshift import modules
from segshift.grid import Grid, Model
from segshift.paths import Results
from segshift.settings import code_digest


class Code:
    """Digests of today's code by what a model is made of."""

    def __init__(self, grid: Grid, results: Results) -> None:
        self.config = grid.config
        self.file = results.root / ".code.json"
        self.stamp = _stamp(modules.PACKAGE)
        self.known: dict[str, str] = self._remembered()
        self.new = False

    def digest(self, model: Model) -> str:
        """What ``settings.code_digest`` says of the model's settings."""
        made_of = self._modules(model)
        key = json.dumps(made_of, sort_keys=True)
        if key not in self.known:
            self.known[key], self.new = code_digest(made_of), True
        return self.known[key]

    def remember(self) -> None:
        """Keep the digests for the next process, where there is a folder of results."""
        if self.new and self.file.parent.is_dir():
            part = self.file.with_name(".code.part")
            part.write_text(json.dumps({"stamp": self.stamp, "digests": self.known}))
            part.replace(self.file)

    def _remembered(self) -> dict[str, str]:
        try:
            content = json.loads(self.file.read_text())
            return dict(content["digests"]) if content["stamp"] == self.stamp else {}
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return {}

    def _modules(self, model: Model) -> dict[str, Any]:
        """The sections of a model's settings that name modules."""
        config = self.config
        tuning = config.tunings[model.tuning]
        made_of: dict[str, Any] = {
            "backbone": {"module": config.backbones[model.backbone].module},
            "tuning": {"module": tuning.module},
            "head": {"module": config.heads[model.head].module},
        }
        if tuning.side:
            made_of["tuning"]["side"] = {"module": config.backbones[tuning.side].module}
        if model.adapt:
            made_of["adaptation"] = {"module": config.adaptations[model.adapt].module}
        return made_of


def _stamp(package: Path) -> str:
    """Sizes and time stamps of all source files."""
    files = [(str(file), (s := file.stat()).st_size, s.st_mtime_ns) for file in sorted(package.rglob("*.py"))]
    return hashlib.sha256(json.dumps(files).encode()).hexdigest()
