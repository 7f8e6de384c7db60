"""The verbs that look at the grid and steer it: ``cells``, ``status``, ``why``, ``log``, ``rerun``, ``plan``,
``doctor``."""

import argparse
from collections.abc import Callable
from importlib import import_module
from typing import Any

from segshift.paths import Results

Arguments = argparse.Namespace


def declare(verb: Callable[..., argparse.ArgumentParser], cell: str, *options: Callable) -> None:
    """Add the verbs and their options.

    Args:
        verb: adds one.
        cell: how a cell is written.
        options: those of the folders of results and configuration.
    """
    sub = verb("status", "The grid at a glance: what is done, running, failed.", _status, *options)
    sub.add_argument("experiment", nargs="*", help="entries of experiments.yaml (default: all)")
    sub.add_argument("--json", action="store_true", help="the same as JSON")
    sub.add_argument("--failed", nargs="*", metavar="RULE=LOG", help="only these, as the workflow tells it")


def _status(arguments: Arguments) -> None:
    results = Results(arguments.results)
    if arguments.failed is not None:
        _stage("status").failed(results, arguments.failed)
    else:
        _stage("status").run(arguments.config, results, arguments.experiment, arguments.json)


def _stage(name: str) -> Any:
    return import_module(f"segshift.stages.{name}")
