"""The command `segshift`: one sub-command a verb.

Only the stage that runs is imported, so that start-up stays short.
"""

import argparse
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from segshift import __version__
from segshift.errors import SegShiftError

Arguments = argparse.Namespace


def main(words: list[str] | None = None) -> int:
    """Run a command; bad input is one sentence on stderr and exit code 1."""
    arguments = parser().parse_args(words)
    try:
        return arguments.run(arguments) or 0
    except SegShiftError as error:
        print(f"segshift {arguments.verb}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def stage(verb: str) -> Any:
    """The module of a verb."""
    return import_module(f"segshift.stages.{verb}")


def parser() -> argparse.ArgumentParser:
    """All commands and their options, in the order in which data flows."""
    top = argparse.ArgumentParser(prog="segshift", description=__doc__.split(":")[0])
    top.add_argument("--version", action="version", version=__version__)
    verbs = top.add_subparsers(dest="verb", required=True, metavar="VERB")

    def verb(
        name: str, text: str, run: Callable[[Arguments], int | None], *options: Callable
    ) -> argparse.ArgumentParser:
        sub = verbs.add_parser(name, help=text, description=text)
        sub.set_defaults(run=run)
        sub.add_argument("--results", default="results", metavar="FOLDER", help="what the workflow fills")
        for option in options:
            option(sub)
        return sub

    sub = verb("phantom", "Write synthetic brain volumes of several scanners, as HDF5.", _phantom)
    sub.add_argument("folder", type=Path)
    for name, default in (
        ("seed", 0),
        ("size", 56),
        ("slices", 8),
        ("train", 6),
        ("validation", 2),
        ("test", 4),
    ):
        sub.add_argument(f"--{name}", type=int, default=default)
    sub.add_argument("--domains", nargs="+", metavar="DOMAIN")

    verb("cells", "List every cell with its state.", _cells, _config, _experiments).add_argument(
        "--json", action="store_true"
    )
    sub = verb("settings", "Show a cell's settings and where each comes from.", _settings, _config)
    sub.add_argument("cell", nargs="?")
    sub.add_argument("--write", action="store_true", help="write every settings.yaml, as the Snakefile does")
    verb("schema", "Write JSON schemas of the config files, for editors.", _schema).add_argument(
        "folder", type=Path
    )
    verb("check", "Build every combination of the grid once, without weights.", _check, _config)

    sub = verb("fetch", "Bring weights and check them.", _fetch, _config)
    sub.add_argument("weights", nargs="+")
    sub = verb("prepare", "Read raw data into the prepared format.", _prepare, _config)
    sub.add_argument("dataset", nargs="+")
    sub.add_argument("--workers", type=int, default=1, help="volumes at once")
    for name, text in (("train", "Train cells."), ("adapt", "Adapt trained cells to a target.")):
        sub = verb(name, text, _fit, _device)
        sub.add_argument(
            "cell", nargs="+", help="source/backbone/tuning/head/seed[/adapt/target], or its folder"
        )
        sub.add_argument("--workers", type=int, default=0, help="processes that read slices")
    sub = verb("evaluate", "Score a model on its targets.", _evaluate, _config, _device)
    sub.add_argument("cell")
    sub.add_argument("target", nargs="*", help="default: those that the experiments name")
    sub = verb("track", "Send scores and curves to MLflow.", _track, _config, _experiments)
    sub.add_argument("--follow", action="store_true", help="until stdin closes")
    sub.add_argument("--out", type=Path, help="write here which runs are complete")
    sub = verb("tabulate", "Build an experiment's table from MLflow.", _tabulate, _config, _experiments)
    sub.add_argument("--partial", action="store_true", help="with a dash where a score is missing")
    sub.add_argument("--folder", type=Path, help="default: tables/, or tables/partial/")
    verb("report", "Write report.html.", _report, _config)

    sub = verb("predict", "Segment a NIfTI volume with a trained model.", _predict, _device)
    sub.add_argument("cell")
    sub.add_argument("image", type=Path)
    sub.add_argument("-o", "--output", type=Path, required=True, metavar="MASK")
    sub.add_argument("--channel", type=int, help="of a 4D image, counted from 0")
    verb("show", "Print the tables, where they lie, and how to open MLflow.", _show, _config)
    sub = verb("status", "Say what failed, and where its log is.", _status)
    sub.add_argument("--failed", nargs="*", default=[], metavar="RULE=LOG")
    verb("rerun", "Forget finished models, so that they are made again.", _rerun).add_argument(
        "cell", nargs="+"
    )
    verb("ui", "Open the MLflow UI.", _ui, _config).add_argument("--port", type=int, default=5000)
    return top


def _config(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--config", default="config", metavar="FOLDER", help="what a scientist edits")


def _experiments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("experiment", nargs="*", help="default: all")


def _device(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--device", default="auto", help="auto, cpu or cuda")


# ---- what each verb does with its options ------------------------------------------------------------------


def _home(arguments: Arguments) -> Path:
    """Folder that `raw` and `weights` of project.yaml are relative to: the one that holds `results`."""
    return Path(arguments.results).resolve().parent


def _read(arguments: Arguments) -> Any:
    from segshift import grid

    return grid.read(arguments.config)


def _known(what: str, names: list[str], known: Any) -> None:
    from segshift.errors import unknown

    for name in names:
        if name not in known:
            raise unknown(f"unknown {what}", name, known)


def _results(arguments: Arguments) -> Any:
    from segshift.paths import Results

    return Results(arguments.results)


def _phantom(arguments: Arguments) -> None:
    names = ("seed", "size", "slices", "train", "validation", "test", "domains")
    given = {name: getattr(arguments, name) for name in names}
    stage("phantom").run(
        arguments.folder, **{name: value for name, value in given.items() if value is not None}
    )


def _cells(arguments: Arguments) -> None:
    stage("cells").run(arguments.config, _results(arguments), arguments.experiment, arguments.json)


def _settings(arguments: Arguments) -> None:
    stage("settings").run(arguments.config, _results(arguments), arguments.cell, write=arguments.write)


def _schema(arguments: Arguments) -> None:
    stage("schema").run(arguments.folder)


def _check(arguments: Arguments) -> None:
    stage("check").run(arguments.config, _results(arguments))


def _fetch(arguments: Arguments) -> None:
    config = _read(arguments).config
    _known("weights", arguments.weights, config.weights)
    for name in arguments.weights:
        entry, folder = config.weights[name].model_dump(), _home(arguments) / config.project.weights
        stage("fetch").run(name, entry, folder, _results(arguments).weights(name))


def _prepare(arguments: Arguments) -> None:
    config = _read(arguments).config
    _known("dataset", arguments.dataset, config.datasets)
    for name in arguments.dataset:
        raw = _home(arguments) / config.project.raw / (config.datasets[name].folder or name)
        stage("prepare").run(name, Path(arguments.results), raw, arguments.workers)


def _fit(arguments: Arguments) -> int:
    options = (arguments.cell, arguments.results, arguments.device, arguments.workers)
    return stage(arguments.verb).run(*options)


def _evaluate(arguments: Arguments) -> None:
    options = (arguments.cell, arguments.target, arguments.results, arguments.config, arguments.device)
    stage("evaluate").run(*options)


def _track(arguments: Arguments) -> None:
    chosen = arguments.experiment or None
    stage("track").run(
        arguments.config, _results(arguments), chosen, follow=arguments.follow, out=arguments.out
    )


def _tabulate(arguments: Arguments) -> None:
    for experiment in arguments.experiment or _read(arguments).built:
        stage("tabulate").run(
            arguments.config, _results(arguments), experiment, arguments.partial, arguments.folder
        )


def _report(arguments: Arguments) -> None:
    stage("report").run(arguments.config, _results(arguments))


def _predict(arguments: Arguments) -> None:
    where = (arguments.cell, arguments.image, arguments.output, arguments.results)
    stage("predict").run(*where, arguments.device, arguments.channel)


def _show(arguments: Arguments) -> None:
    stage("tabulate").show(arguments.config, _results(arguments))


def _status(arguments: Arguments) -> None:
    stage("status").run(_results(arguments), arguments.failed)


def _rerun(arguments: Arguments) -> None:
    stage("rerun").run(arguments.cell, arguments.results)


def _ui(arguments: Arguments) -> None:
    stage("ui").run(arguments.config, _results(arguments), arguments.port)
