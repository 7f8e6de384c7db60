"""The command `segshift`: one sub-command a verb.

Only the stage that runs is imported, so that start-up stays short.
"""

import argparse
import errno
import os
import signal
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from segshift import __version__, data_verbs, exchange_verbs, figure_verbs, grid_verbs, warm
from segshift.errors import SegShiftError

Arguments = argparse.Namespace

ABOUT = "How well does a segmentation model survive a change of scanner? One verb a stage; see README.md."
CELL = "source/backbone/tuning/head/seed, with /adapt/target behind it if adapted; or its folder"


def main(words: list[str] | None = None) -> int:
    """Run a command; bad input is one sentence on stderr and exit code 1."""
    if words is None and warm.VARIABLE in os.environ and (code := warm.ask(sys.argv[1:])) is not None:
        return code
    arguments = parser().parse_args(words)
    try:
        code = arguments.run(arguments) or 0
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # the reader of `segshift cells | head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else the flush at exit fails again
        return 128 + signal.SIGPIPE
    except SegShiftError as error:
        print(f"segshift {arguments.verb}: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        where = error.filename or "a file"
        print(f"segshift {arguments.verb}: {where} cannot be written: {error.strerror}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def stage(verb: str) -> Any:
    """The module of a verb."""
    return import_module(f"segshift.stages.{verb}")


def parser() -> argparse.ArgumentParser:
    """All commands and their options, in the order in which data flows."""
    top = argparse.ArgumentParser(prog="segshift", description=ABOUT)
    top.add_argument("--version", action="version", version=__version__)
    verbs = top.add_subparsers(dest="verb", required=True, metavar="VERB")

    def verb(
        name: str, text: str, run: Callable[[Arguments], int | None], *options: Callable
    ) -> argparse.ArgumentParser:
        sub = verbs.add_parser(name, help=text, description=text)
        sub.set_defaults(run=run)
        for option in options:
            option(sub)
        return sub

    sub = verb("phantom", "Write made-up patients of four anatomies, as raw data.", _phantom)
    sub.add_argument("folder", type=Path, help="where to; a folder for each scanner is made in it")
    for name, default, text in (
        ("seed", 0, "of all patients"),
        ("size", 56, "pixels of a slice's side"),
        ("slices", 8, "of each volume"),
        ("train", 6, "volumes to train on"),
        ("validation", 2, "volumes to select on"),
        ("test", 4, "volumes to test on"),
    ):
        text = f"{text} (default: {default})"
        sub.add_argument(f"--{name}", type=int, default=default, metavar="NUMBER", help=text)
    sub.add_argument("--domains", nargs="+", metavar="DOMAIN", help="scanners (default: all)")

    verb("cells", "List every cell with its state.", _cells, _folder, _config, _experiments).add_argument(
        "--json", action="store_true", help="the same as JSON"
    )
    sub = verb("settings", "Show a cell's settings and where each comes from.", _settings, _folder, _config)
    sub.add_argument("cell", nargs="?", help=CELL)
    sub.add_argument("--write", action="store_true", help="write every settings.yaml, as the Snakefile does")
    verb("schema", "Write JSON schemas of the config files, for editors.", _schema).add_argument(
        "folder", type=Path, help="where to"
    )
    verb("check", "Build every combination of the grid once, without weights.", _check, _folder, _config)
    sub = verb("parameters", "Count parameters, FLOPs and memory.", _parameters, _folder, _config, _device)
    sub.add_argument("cell", nargs="*", help=f"{CELL} (default: the whole grid)")
    for name in ("backbone", "tuning", "head"):
        sub.add_argument(f"--{name}", metavar="NAME", help=f"of one combination: an entry of {name}s.yaml")
    sub.add_argument("--classes", type=int, metavar="NUMBER", help="of one combination, background included")
    sub.add_argument("--batch", type=int, default=1, metavar="NUMBER", help="slices counted (default: 1)")
    sub.add_argument("--original", action="store_true", help="count the original variants of all parts")
    sub.add_argument("--gradient", action="store_true", help="run it, and count what gets a gradient")
    sub.add_argument("--json", action="store_true", help="the same as JSON")

    data_verbs.declare(verb, _folder, _config)
    sub = verb("fetch", "Bring weights and check them.", _fetch, _folder, _config)
    sub.add_argument("weights", nargs="+", help="entries of weights.yaml")
    sub = verb("prepare", "Read raw data into the prepared format.", _prepare, _folder, _config)
    sub.add_argument("dataset", nargs="+", help="entries of datasets.yaml")
    sub.add_argument("--workers", type=int, default=1, help="volumes at once")
    for name, text in (("train", "Train cells."), ("adapt", "Adapt trained cells to a target.")):
        sub = verb(name, text, _fit, _folder, _device)
        sub.add_argument("cell", nargs="+", help=CELL)
        sub.add_argument("--workers", type=int, default=0, help="processes that read slices")
        text = "of several cells on one frozen backbone at most so many at once; no bit depends on it"
        sub.add_argument("--heads", type=int, default=0, metavar="NUMBER", help=text)
        text = "for workflows: of the cells those that FILE lists, as far as one pass serves several"
        sub.add_argument("--row", type=Path, metavar="FILE", help=text)
        text = "for workflows: of a row; score what it trained, as the configuration in this folder says"
        sub.add_argument("--score", metavar="FOLDER", help=text)
        text = "for workflows: of a row; at the last one all is left to jobs of their own"
        sub.add_argument("--attempt", type=int, default=1, metavar="NUMBER", help=text)
    sub = verb("evaluate", "Score a model on its targets.", _evaluate, _folder, _config, _device)
    sub.add_argument("cell", help=CELL)
    sub.add_argument("target", nargs="*", help="default: those that the experiments name")
    _measured(sub)
    sub = verb("track", "Send scores and curves to MLflow.", _track, _folder, _config, _experiments)
    sub.add_argument("--follow", action="store_true", help="a pass every 15 s, until stdin closes")
    sub.add_argument("--out", type=Path, metavar="FILE", help="list the tracked runs here")
    sub = verb("tabulate", "Build tables from MLflow, or from a plain file.", _tabulate, _folder, _config)
    sub.add_argument("table", nargs="*", help="numbers of tables.yaml, or experiments (default: all)")
    sub.add_argument("--runs", type=Path, metavar="FILE", help="scores from a CSV file; no MLflow is needed")
    sub.add_argument("--origin", metavar="NAME", help="scores that import-runs put into MLflow")
    sub.add_argument("--out", type=Path, metavar="FOLDER", help="where to, with --runs or --origin")
    text = "print these beside each number, with the difference: a NAME of import-runs, or a CSV file"
    sub.add_argument("--beside", metavar="NAME", help=text)
    sub.add_argument("--partial", action="store_true", help="with a dash where a score is missing")
    sub.add_argument("--folder", type=Path, help="where to (default: tables/ or tables/partial/ in results)")
    sub = verb("import-runs", "Put scores of a plain file into MLflow.", _import_runs, _folder, _config)
    sub.add_argument("file", type=Path, help="a CSV file with the columns of config/published/runs.csv")
    sub.add_argument("--origin", default="published", metavar="NAME", help="whose (default: published)")
    sub.add_argument("--out", type=Path, metavar="FILE", help="list the imported runs here")
    exchange_verbs.declare(verb, _measured, _folder, _config)
    _declare_compare(verb)
    verb("report", "Write report.html: one page with all of it.", _report, _folder, _config)
    figure_verbs.declare(verb, _folder, _config, _device)

    _declare_predict(verb)
    sub = verb("show", "Print the tables; of a CELL, draw what its model sees.", _show, _folder, _config)
    sub.add_argument("cell", nargs="?", help=f"draw {CELL}")
    sub.add_argument("-o", "--output", type=Path, metavar="PNG", help="default: sheet.png in its folder")
    grid_verbs.declare(verb, CELL, _folder, _config)
    sub = verb("replay", "Train a finished cell again beside it, and compare.", _replay, _folder)
    sub.add_argument("cell", help=CELL)
    sub.add_argument("--device", help="cpu or cuda (default: that of the first training)")
    sub.add_argument("--workers", type=int, default=0, help="processes that read slices")
    text = "on a GPU, of the best validation Dice, in points (default: 0.5); on a CPU the bits must agree"
    sub.add_argument("--tolerance", type=float, default=0.5, metavar="POINTS", help=text)
    sub = verb("ui", "Open the MLflow UI.", _ui, _folder, _config)
    sub.add_argument("--port", type=int, default=5000, help="of this machine (default: 5000)")
    return top


def _declare_compare(verb: Callable) -> None:
    sub = verb("compare", "Compare two rows or cells on the same patients.", _compare, _folder, _config)
    text = "a row, backbone/tuning/head (with /adapt; * for any name), or a cell"
    sub.add_argument("one", metavar="A", help=text)
    sub.add_argument("other", metavar="B", help="what it is compared with")
    sub.add_argument("--experiment", metavar="NAME", help="only scores of this experiment")
    sub.add_argument("--runs", type=Path, metavar="FILE", help="scores from a CSV file, without patients")
    sub.add_argument("--json", dest="form", action="store_const", const="json", help="the same as JSON")
    text = "one paragraph for a paper"
    sub.add_argument("--paragraph", dest="form", action="store_const", const="paragraph", help=text)


def _declare_predict(verb: Callable) -> None:
    sub = verb("predict", "Segment scans with trained models.", _predict, _folder, _device)
    sub.add_argument("cell", help=CELL)
    text = "a scan (NIfTI, MGZ, NRRD, MHA, a folder of DICOM slices), a picture, or a folder of them"
    sub.add_argument("image", type=Path, help=text)
    text = "what it becomes, in the format that the name says; of a folder, a folder"
    sub.add_argument("-o", "--output", type=Path, required=True, metavar="MASK", help=text)
    text = "of a 4D image, or of nnU-Net's files, counted from 0"
    sub.add_argument("--channel", type=int, metavar="NUMBER", help=text)
    sub.add_argument("--mask", type=Path, metavar="FILE", help="of the brain, where the model's data had one")
    text = "more models, by cell or by seed of CELL: the mean of their probabilities counts"
    sub.add_argument("--ensemble", nargs="+", default=[], metavar="CELL", help=text)
    text = "write them too, as MASK_probabilities.nii.gz"
    sub.add_argument("--probabilities", action="store_true", help=text)
    sub.add_argument("--overwrite", action="store_true", help="of a folder: make masks again that are there")
    text = "bring values to [0, 1] this way, where the model's data came with such values"
    sub.add_argument("--scale", choices=["min_max", "percentile"], help=text)


def _folder(sub: argparse.ArgumentParser) -> None:
    text = "what the workflow fills (default: results)"
    sub.add_argument("--results", default="results", metavar="FOLDER", help=text)


def _config(sub: argparse.ArgumentParser) -> None:
    text = "what a scientist edits (default: config)"
    sub.add_argument("--config", default="config", metavar="FOLDER", help=text)


def _experiments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("experiment", nargs="*", help="entries of experiments.yaml (default: all)")


def _measured(sub: argparse.ArgumentParser) -> None:
    from segshift.measures import METRICS, SPACES

    text = "beside dice and iou (default: `evaluation` in project.yaml)"
    sub.add_argument("--metrics", nargs="+", choices=METRICS, metavar="METRIC", help=text)
    text = "prepared (always) and native, the raw voxels"
    sub.add_argument("--spaces", nargs="+", choices=SPACES, metavar="SPACE", help=text)
    sub.add_argument("--tolerance", type=float, metavar="MM", help="of a surface, for nsd")


def _device(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--device", default="auto", help="auto (default), cpu or cuda")


# ---- what each verb does with its options ------------------------------------------------------------------


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


def _parameters(arguments: Arguments) -> None:
    from segshift.errors import SegShiftError

    if arguments.batch < 1:
        raise SegShiftError(f"--batch {arguments.batch} is less than 1")
    parameters = stage("parameters")
    a = arguments
    options = parameters.Options(a.json, a.original, a.gradient, a.batch, a.device)
    names = {part: getattr(arguments, part) for part in ("backbone", "tuning", "head")}
    given = [*names.values(), arguments.classes]
    if not any(one is not None for one in given):
        parameters.run(arguments.config, _results(arguments), arguments.cell, options)
    elif arguments.cell or None in given:
        raise SegShiftError("one combination needs --backbone, --tuning, --head and --classes, and no cell")
    else:
        parameters.run_one(arguments.config, names, arguments.classes, options)


def _fetch(arguments: Arguments) -> None:
    config = _read(arguments).config
    _known("weights", arguments.weights, config.weights)
    for name in arguments.weights:
        entry, folder = config.weights[name].model_dump(), _results(arguments).home / config.project.weights
        stage("fetch").run(name, entry, folder, _results(arguments))


def _prepare(arguments: Arguments) -> None:
    grid = _read(arguments)
    config = grid.config
    _known("dataset", arguments.dataset, config.datasets)
    for name in arguments.dataset:
        entry = config.datasets[name]
        raw = config.raw(_results(arguments).home, name)
        more = {"cache": config.project.cache, "siblings": grid.together(name)}
        more["colours"] = config.anatomies[entry.anatomy].colours
        stage("prepare").run(name, Path(arguments.results), raw, arguments.workers, **more)


def _fit(arguments: Arguments) -> int:
    options = (arguments.results, arguments.device, arguments.workers)
    if arguments.row:
        adapt = arguments.verb == "adapt"
        more = (arguments.heads, arguments.attempt, arguments.score)
        return stage("row").run(arguments.cell, arguments.row, *options, adapt, *more)
    return stage(arguments.verb).run(arguments.cell, *options, heads=arguments.heads)


def _evaluate(arguments: Arguments) -> None:
    options = (arguments.cell, arguments.target, arguments.results, arguments.config, arguments.device)
    stage("evaluate").run(*options, arguments.metrics, arguments.spaces, arguments.tolerance)


def _track(arguments: Arguments) -> None:
    chosen = arguments.experiment or None
    stage("track").run(
        arguments.config, _results(arguments), chosen, follow=arguments.follow, out=arguments.out
    )


def _tabulate(arguments: Arguments) -> None:
    if arguments.runs or arguments.origin or arguments.out:
        _tabulate_other(arguments)
        return
    options = (arguments.table or None, arguments.partial, arguments.folder, arguments.beside)
    stage("tabulate").run_all(arguments.config, _results(arguments), *options)


def _tabulate_other(arguments: Arguments) -> None:
    """Scores that are not of this project's models."""
    if not arguments.out or bool(arguments.runs) == bool(arguments.origin):
        from segshift.errors import SegShiftError

        raise SegShiftError("--out FOLDER needs --runs FILE or --origin NAME, and each of these needs it")
    where, names, other = (arguments.config, _results(arguments)), arguments.table, arguments.beside
    if arguments.runs:
        stage("tabulate_file").run(*where, arguments.runs, arguments.out, names, other)
    else:
        stage("import_runs").tabulate(*where, arguments.out, names, arguments.origin, other)


def _import_runs(arguments: Arguments) -> None:
    options = (arguments.origin, arguments.out)
    stage("import_runs").run(arguments.file, arguments.config, _results(arguments), *options)


def _compare(arguments: Arguments) -> None:
    sides, form = (arguments.one, arguments.other), arguments.form or "text"
    where = (arguments.config, _results(arguments))
    stage("compare").run(*where, *sides, arguments.experiment, arguments.runs, form)


def _report(arguments: Arguments) -> None:
    stage("report").run(arguments.config, _results(arguments))


def _predict(arguments: Arguments) -> None:
    a = arguments
    more = (a.device, a.channel, a.mask, a.ensemble, a.probabilities, a.overwrite, a.scale)
    stage("predict").run(a.cell, a.image, a.output, a.results, *more)


def _show(arguments: Arguments) -> None:
    if arguments.cell:
        stage("sheet").run(arguments.cell, arguments.config, _results(arguments), arguments.output)
        return
    stage("tabulate").show(arguments.config, _results(arguments))


def _replay(arguments: Arguments) -> int:
    options = (arguments.cell, arguments.results, arguments.device, arguments.workers, arguments.tolerance)
    return stage("replay").run(*options)


def _ui(arguments: Arguments) -> None:
    stage("ui").run(arguments.config, _results(arguments), arguments.port)
