"""The command `segshift` with faults: something bad happens before or after a certain call of a function.

The tests put it first on PATH under the name `segshift`, so that production code has no hooks. A fault is a
file ``$SEGSHIFT_FAULTS/<name>.json``; when it strikes, the file is renamed to ``<name>.struck`` first, so
that it strikes once::

    {"words": ["train", "results/runs/…"],       # only a command with all of these words
     "at": "segshift.cell:Cell.step",            # module:attribute, where it is looked up when it is called
     "call": 2, "after": false,                  # strikes before (or after) its second call
     "do": "kill -9 $JOB"}                       # or "raise": "a sentence"

``do`` is for a shell, which knows ``$JOB`` (this process) and ``$WORKFLOW`` (leader of its process group).
"""

import functools
import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any


def strike(fault: dict[str, Any], file: Path) -> None:
    """Do the bad thing, unless another process was faster."""
    try:
        file.rename(file.with_suffix(".struck"))
    except FileNotFoundError:
        return
    if sentence := fault.get("raise"):
        raise RuntimeError(sentence)
    known = {"JOB": str(os.getpid()), "WORKFLOW": str(os.getpgrp())}
    subprocess.run(["bash", "-c", fault["do"]], env=os.environ | known, check=True)


def arm(fault: dict[str, Any], file: Path) -> None:
    """Wrap the function of a fault."""
    module, _, path = fault["at"].partition(":")
    holder: Any = importlib.import_module(module)
    *parents, name = path.split(".")
    for parent in parents:
        holder = getattr(holder, parent)
    original, calls = getattr(holder, name), 0

    @functools.wraps(original)
    def wrapped(*args: Any, **keywords: Any) -> Any:
        nonlocal calls
        calls += 1
        now = calls == fault.get("call", 1)
        if now and not fault.get("after"):
            strike(fault, file)
        result = original(*args, **keywords)
        if now and fault.get("after"):
            strike(fault, file)
        return result

    setattr(holder, name, wrapped)


if __name__ == "__main__":
    for file in sorted(Path(os.environ["SEGSHIFT_FAULTS"]).glob("*.json")):
        try:
            fault = json.loads(file.read_text())
        except FileNotFoundError:  # it struck in another process meanwhile
            continue
        if set(fault["words"]) <= set(sys.argv[1:]):
            arm(fault, file)
            os.environ.pop("SEGSHIFT_WARM", None)  # it happens in this very process
    from segshift.cli import main

    sys.exit(main())
