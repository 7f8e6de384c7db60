"""Which plug-in modules exist and which parameters they take, read from their source without importing them.

So an unknown name or key stops a workflow at parse time, and `segshift.grid` never loads torch.
"""

import ast
import hashlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from segshift.errors import unknown

PACKAGE = Path(__file__).parent
ENTRY_POINTS = {
    "backbones": "build",
    "tunings": "build",
    "heads": "build",
    "adaptations": "build",
    "datasets": "cases",
    "steps": "apply",
}


@cache
def available(folder: str) -> tuple[str, ...]:
    """Names of the modules in a plug-in folder."""
    return tuple(
        sorted(file.stem for file in (PACKAGE / folder).glob("*.py") if not file.stem.startswith("_"))
    )


def source(folder: str, module: str) -> Path:
    """The file of a plug-in module.

    Raises:
        SegShiftError: no such module; lists those in the folder.
    """
    if module not in available(folder):
        raise unknown(f"no module in {folder}/ is called", module, available(folder))
    return PACKAGE / folder / f"{module}.py"


@cache
def parameters(folder: str, module: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Keyword parameters of a plug-in's entry point: (all of them, those without a default)."""
    return signature(source(folder, module), ENTRY_POINTS[folder])


@cache
def constant(folder: str, module: str, name: str) -> Any:
    """A constant at the top of a plug-in module, of which the source holds the value; None without one."""
    for node in _body(source(folder, module)):
        if isinstance(node, ast.Assign) and name in [ast.unparse(target) for target in node.targets]:
            return ast.literal_eval(node.value)
    return None


@cache
def signature(file: Path, function: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Keyword-only parameters of a top-level function: (all of them, those without a default)."""
    for node in _body(file):
        if isinstance(node, ast.FunctionDef) and node.name == function:
            pairs = list(zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True))
            return tuple(a.arg for a, _ in pairs), tuple(a.arg for a, default in pairs if default is None)
    raise AttributeError(f"{file} has no function {function}()")


@cache
def _body(file: Path) -> list[ast.stmt]:
    return ast.parse(file.read_text()).body


def code_digest(files: Iterable[Path]) -> str:
    """Digest of source files, comments and layout aside: a reworded comment marks no model as outdated."""
    total = hashlib.sha256()
    for file in sorted(set(files)):
        total.update(f"{file.relative_to(PACKAGE)} {_file_digest(file)}\n".encode())
    return total.hexdigest()[:16]


@cache
def layers(file: Path) -> frozenset[Path]:
    """Files in ``layers/`` that a source file imports, and those that these import."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        names = [f"{node.module}.{a.name}" for a in node.names] if isinstance(node, ast.ImportFrom) else []
        for name in names:
            parts = name.split(".")
            if (
                parts[:2] == ["segshift", "layers"]
                and (used := PACKAGE / "layers" / f"{parts[2]}.py").exists()
            ):
                found |= {used} | layers(used)
    return frozenset(found)


@cache
def _file_digest(file: Path) -> str:
    return hashlib.sha256(ast.dump(_without_docstrings(ast.parse(file.read_text()))).encode()).hexdigest()


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef) and ast.get_docstring(
            node, clean=False
        ):
            node.body = node.body[1:] or [ast.Pass()]
    return tree


def steps() -> dict[str, tuple[str, ...]]:
    """Pre-processing steps, the files in ``steps/``, and their keys."""
    return {name: parameters("steps", name)[0] for name in available("steps")}


@cache
def transforms() -> dict[str, tuple[str, ...]]:
    """Transforms of ``augment.py`` and their keys: functions called ``_draw_<transform>``."""
    file = PACKAGE / "augment.py"
    functions = [node.name for node in ast.parse(file.read_text()).body if isinstance(node, ast.FunctionDef)]
    drawing = [name for name in functions if name.startswith("_draw_")]
    return {name.removeprefix("_draw_"): signature(file, name)[0] for name in drawing}
