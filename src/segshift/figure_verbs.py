"""Commands that draw pictures for papers; see ``docs/report.md``."""

import argparse
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any


def declare(verb: Callable[..., argparse.ArgumentParser], *options: Callable) -> None:
    """Add the commands.

    Args:
        verb: adds one, as in ``cli.parser``.
        options: those that both have: ``--results``, ``--config`` and ``--device``.
    """
    sub = verb("figures", "Draw the figures of figures.yaml.", _figures, *options)
    sub.add_argument("figure", nargs="*", help="entries of figures.yaml (default: all)")
    sub = verb("features", "Draw what untrained backbones see.", _features, *options)
    sub.add_argument("backbone", nargs="+", help="entries of backbones.yaml, a line each")
    text = "entries of datasets.yaml, a slice each"
    sub.add_argument("--datasets", nargs="+", required=True, metavar="NAME", help=text)
    sub.add_argument("--seed", type=int, default=0, metavar="NUMBER", help="draws the slices (default: 0)")
    text = "path without an ending (default: figures/figure_features in results)"
    sub.add_argument("-o", "--output", type=Path, metavar="PATH", help=text)


def _stage(name: str) -> Any:
    return import_module(f"segshift.stages.{name}")


def _results(arguments: argparse.Namespace) -> Any:
    from segshift.paths import Results

    return Results(arguments.results)


def _figures(arguments: argparse.Namespace) -> None:
    _stage("figures").run(arguments.config, _results(arguments), arguments.figure, arguments.device)


def _features(arguments: argparse.Namespace) -> None:
    names = (arguments.backbone, arguments.datasets)
    more = (arguments.seed, arguments.output, arguments.device)
    _stage("features").run(arguments.config, _results(arguments), *names, *more)
