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
    sub = verb("why", "Say why a cell would be made again, or not.", _why, *options)
    sub.add_argument("cell", nargs="+", help=cell)
    sub = verb("log", "Print the log of a cell that tells most.", _log, options[0])
    sub.add_argument("cell", help=cell)
    sub.add_argument("-n", "--lines", type=int, default=40, help="of each log, 0: all (default: 40)")
    sub.add_argument("--all", action="store_true", help="all logs of the cell, and Slurm's")
    sub.add_argument("--follow", action="store_true", help="go on with what is written to it")
    sub = verb("rerun", "Forget finished models, so that they are made again.", _rerun, *options)
    text = f"{cell}; or a pattern such as 'hcp1/*/frozen', quoted"
    sub.add_argument("cell", nargs="*", help=text)
    sub.add_argument("--outdated", action="store_true", help="all that were made by older code")
    sub.add_argument("--yes", action="store_true", help="do not ask")
    sub = verb("plan", "Say what the grid would still cost, and what a budget buys.", _plan, *options)
    sub.add_argument("experiment", nargs="*", help="entries of experiments.yaml (default: all)")
    sub.add_argument("--budget", metavar="TIME", help="of devices, such as 40h, 90min or 2d")
    sub.add_argument("--listed", action="store_true", help="tables as tables.yaml lists them, not by cost")
    sub.add_argument("--probe", action="store_true", help="try some steps where no finished cell tells")
    sub.add_argument("--json", action="store_true", help="the same as JSON")
    verb("doctor", "Say what is missing on this machine, and what to do.", _doctor, *options)


def _status(arguments: Arguments) -> None:
    results = Results(arguments.results)
    if arguments.failed is not None:
        _stage("status").failed(results, arguments.failed)
    else:
        _stage("status").run(arguments.config, results, arguments.experiment, arguments.json)


def _why(arguments: Arguments) -> None:
    _stage("why").run(arguments.config, Results(arguments.results), arguments.cell)


def _log(arguments: Arguments) -> None:
    options = (arguments.lines, arguments.all, arguments.follow)
    _stage("log").run(arguments.cell, arguments.results, *options)


def _rerun(arguments: Arguments) -> None:
    options = (arguments.outdated, arguments.config, arguments.yes)
    _stage("rerun").run(arguments.cell, arguments.results, *options)


def _plan(arguments: Arguments) -> None:
    where = (arguments.config, Results(arguments.results), arguments.experiment, arguments.budget)
    _stage("plan").run(*where, arguments.listed, arguments.probe, arguments.json)


def _doctor(arguments: Arguments) -> int:
    return _stage("doctor").run(arguments.config, Results(arguments.results))


def _stage(name: str) -> Any:
    return import_module(f"segshift.stages.{name}")
