"""The verbs by which masks and scores come from other tools and sites, and go there."""

import argparse
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

Arguments = argparse.Namespace


def declare(
    verb: Callable[..., argparse.ArgumentParser], measured: Callable[[Any], None], *options: Callable
) -> None:
    """Add the verbs.

    Args:
        verb: adds one, as in ``cli.parser``.
        measured: adds the options that say what is computed of a mask.
        options: those of the folders of results and configuration.
    """
    sub = verb("score", "Score masks that another tool made.", _score, *options)
    sub.add_argument(
        "folder", type=Path, help="a mask for each test volume, named as export-dataset names it"
    )
    sub.add_argument("--dataset", required=True, metavar="NAME", help="whose test volumes they are of")
    text = "of the model, in external.yaml and in tables, such as nnunet_2d"
    sub.add_argument("--name", required=True, metavar="NAME", help=text)
    text = "the dataset that it was trained on (default: the one that is scored)"
    sub.add_argument("--source", metavar="NAME", help=text)
    text = "of its training (default: the first one of project.yaml)"
    sub.add_argument("--seed", type=int, metavar="NUMBER", help=text)
    text = "masks of the validation volumes, for tables that select by them"
    sub.add_argument("--validation", type=Path, metavar="FOLDER", help=text)
    text = "what numbers in the masks mean: class indices (default), or as in the raw labels"
    sub.add_argument("--values", choices=("classes", "raw"), default="classes", help=text)
    text = "score them though the source is not prepared here; tables say that leakage was not checked"
    sub.add_argument("--unchecked", action="store_true", help=text)
    measured(sub)

    sub = verb("export-dataset", "Write a prepared dataset in another tool's layout.", _dataset, *options)
    sub.add_argument("dataset", help="an entry of datasets.yaml")
    text = "write nnU-Net's layout here, such as nnUNet_raw/Dataset501_hcp1"
    sub.add_argument("--nnunet", type=Path, required=True, metavar="FOLDER", help=text)
    text = "its voxels: as prepared (default), or native, as the raw files have them"
    sub.add_argument("--space", choices=("prepared", "native"), default="prepared", help=text)

    text = "Write scores without names and paths, for other sites."
    sub = verb("export-scores", text, _export, *options)
    sub.add_argument("folder", type=Path, help="where to; it must not be there, or be empty")
    sub.add_argument("experiment", nargs="*", help="entries of experiments.yaml (default: all)")
    text = (
        "a secret of 16 bytes or more; sites with patients in common use the same (default: one is made once)"
    )
    sub.add_argument("--salt", type=Path, metavar="FILE", help=text)
    sub = verb("import-scores", "Bring exported scores of several sites together.", _import, *options)
    sub.add_argument("folder", type=Path, nargs="+", help="what export-scores wrote")


def _score(arguments: Arguments) -> None:
    a = arguments
    asked = {"metrics": a.metrics, "spaces": a.spaces, "tolerance": a.tolerance}
    model = (a.name, a.source, a.seed)
    _stage("score").run(
        a.config,
        _results(a),
        a.folder,
        a.dataset,
        *model,
        a.validation,
        a.values == "raw",
        asked,
        a.unchecked,
    )


def _dataset(arguments: Arguments) -> None:
    a = arguments
    _stage("export_dataset").run(a.config, _results(a), a.dataset, a.nnunet, a.space)


def _export(arguments: Arguments) -> None:
    a = arguments
    _stage("export_scores").run(a.config, _results(a), a.folder, a.experiment, a.salt)


def _import(arguments: Arguments) -> None:
    _stage("import_scores").run(arguments.config, _results(arguments), arguments.folder)


def _results(arguments: Arguments) -> Any:
    from segshift.paths import Results

    return Results(arguments.results)


def _stage(name: str) -> Any:
    return import_module(f"segshift.stages.{name}")
