"""Build a plug-in by name: ``build("heads", {"module": "linear", ...})`` is
``segshift.heads.linear.build(...)``.

No registry, no decorator: the file is the registration.
"""

from importlib import import_module
from types import ModuleType
from typing import Any

from segshift import modules


def load(folder: str, module: str) -> ModuleType:
    """The module of a plug-in; an unknown name lists the files in the folder."""
    modules.source(folder, module)
    return import_module(f"segshift.{folder}.{module}")


def build(folder: str, entry: dict[str, Any], *arguments: Any, **more: Any) -> Any:
    """Call a plug-in's ``build`` with positional arguments of the engine and the entry's own parameters."""
    own = {key: value for key, value in entry.items() if key != "module"}
    return load(folder, entry["module"]).build(*arguments, **own, **more)
