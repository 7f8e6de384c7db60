"""The columns of a table: their titles, and the cells that are not means of scores."""

from collections.abc import Iterable, Mapping

from segshift.entries import Config
from segshift.grid import Model
from segshift.table_entries import AXES, CONTROLS, DIFFERENCES, LOSS, STATISTICS, ScoreTable
from segshift.tables import controls
from segshift.tables.asked import Asked, Tracked
from segshift.tables.draft import Draft, place
from segshift.tables.table import Column, Number, counted, display

TITLES = {
    "anatomy": "Anatomy",
    "source": "Trained on",
    "backbone": "Backbone",
    "tuning": "Tuning",
    "head": "Head",
    "adapt": "Adaptation",
    "model": "Model",
    "level": "Level",
    "anatomies": "Anatomies",
    "ds": "DS",
    "dg": "DG",
    "ov": "OV",
    "dom_gen": "Domain generalization",
    "overall": "Overall",
    "domain_shift": "Domain shift",
}
COUNTS = {
    "train_params_m": "Trainable",
    "train_params_ft_m": "Trainable, tuning",
    "train_params_dec_m": "Trainable, head",
}
LARGEST = "The largest of its models; the count differs with the number of classes."
OWN_COUNT = "Its own count: that of the models that all rows are counted by is not known."
NOT_APART = "What the tuning and the head train is not recorded apart."


def columns(entry: ScoreTable, drafts: list[Draft], asked: list[Asked], config: Config) -> list[Column]:
    """A table's columns. An axis that tells rows apart but has no column gets one."""
    keys = list(entry.columns)
    for axis in AXES:
        if axis not in keys and _varies(drafts, [*(key for key in keys if key in AXES)], axis):
            keys.insert(keys.index("rank") + 1 if "rank" in keys else 0, axis)
    found: list[Column] = []
    for key in keys:
        found += pairs(entry, drafts, asked, config) if key == "targets" else [_column(key, drafts)]
    return found


def _varies(drafts: list[Draft], shown: list[str], axis: str) -> bool:
    """True if two rows differ in an axis, and in nothing that has a column."""
    names: dict[tuple[str | None, ...], set[str | None]] = {}
    for row in drafts:
        names.setdefault(tuple(row.axes.get(one) for one in shown), set()).add(row.axes.get(axis))
    return any(len(those) > 1 for those in names.values())


def _column(key: str, drafts: list[Draft]) -> Column:
    if key in AXES:
        names = {row.axes.get(key) for row in drafts}
        return Column(key, TITLES[key], "text", shown=len(names) > 1 or len(drafts) < 2)
    if key.endswith("_printed"):
        title = "Trainable" if key == "train_params_printed" else TITLES[key.removesuffix("_printed")]
        return Column(key, title, "text", shown=False)
    if key in ("level", "anatomies"):
        return Column(key, TITLES[key], "text", shown=key != "level")
    if key == "rank":
        return Column(key, "Rank", "whole")
    if key in COUNTS:
        return Column(key, COUNTS[key], "millions")
    if key in CONTROLS:
        return controls.column(key)
    if key == LOSS:
        return Column(key, "Loss %", "percent")
    statistic, ending = split(key)
    if not ending:
        return Column(key, TITLES[key])
    return Column(key, f"{TITLES[statistic]} {'size' if 'size' in ending else 'diff'} %", "percent")


def split(key: str) -> tuple[str, str]:
    """A statistic's column and the ending of a difference to it: ``ds_size_pct`` is ``ds``, ``_size_pct``."""
    for ending in DIFFERENCES:
        if key.endswith(ending) and key.removesuffix(ending) in STATISTICS:
            return key.removesuffix(ending), ending
    return key, ""


# ---- a column a target -------------------------------------------------------------------------------------


def pairs(entry: ScoreTable, drafts: list[Draft], asked: list[Asked], config: Config) -> list[Column]:
    """A column for each pair of source and target, or for each target where that says it all."""
    names = config.labels.get("dataset", {})
    found = dict.fromkeys((one.model.source, one.target) for row in drafts for one in row.asked)
    ordered = sorted(found, key=lambda pair: [place(entry.order, config, "source", name) for name in pair])
    if "source" in entry.by:
        targets = dict.fromkeys(target for _, target in ordered)
        ordered_targets = sorted(targets, key=lambda name: place(entry.order, config, "source", name))
        return [Column(f"{target}", names.get(target, target)) for target in ordered_targets]
    alone = len({target for _, target in ordered}) == len(ordered)
    return [
        Column(
            target if alone else f"{source}_{target}",
            names.get(target, target),
            group=f"Trained on {names.get(source, source)}",
        )
        for source, target in ordered
    ]


def of_pair(key: str, row: Draft) -> list[Asked]:
    """The scores of a row in a column of ``pairs``."""
    return [one for one in row.asked if key in (one.target, f"{one.model.source}_{one.target}")]


# ---- names and counts of parameters ------------------------------------------------------------------------


def texts(row: Draft, found: Iterable[Column], config: Config, entry: ScoreTable) -> None:
    """Fill in the cells that are names."""
    names = dict(row.axes) | {"level": row.level}
    anatomies = dict.fromkeys(one.anatomy for one in row.asked if not one.left_out)
    names.setdefault("anatomy", next(iter(anatomies)) if len(anatomies) == 1 else "all")
    names.setdefault("source", "all")
    ordered = sorted(anatomies, key=lambda name: place(entry.order, config, "anatomy", name))
    names["anatomies"] = "+".join(ordered)
    for column in found:
        axis = column.key.removesuffix("_printed")
        axis = "backbone" if axis == "model" else axis
        if column.kind == "text" and axis in names:
            printed = axis != column.key
            shown = display(Column(axis, "", "text"), names[axis], config.labels)
            row.put(column.key, shown if printed else names[axis])


def counts(
    row: Draft,
    found: Iterable[Column],
    asked: list[Asked],
    tracked: Tracked,
    of: Mapping[str, str],
    config: Config,
) -> None:
    """Fill in the counts of trainable parameters: the row's own, or those of the models that ``of`` names."""
    keys = {column.key for column in found}
    if not keys & {*COUNTS, "train_params_printed"}:
        return
    models = _counted(row, asked, of) if of else []
    own_count = not any(one.model in tracked.trainable for one in models)
    models = row.asked if own_count else models
    own = [one.model for one in models if (one.model.adapt or "none") == one.adapt]
    total, notes = _largest(own, tracked.trainable)
    notes += (OWN_COUNT,) if of and own_count and total is not None else ()
    largest = [model for model in own if tracked.trainable.get(model) == total]
    heads, _ = _largest(largest, tracked.heads)
    if heads is None and all(_frozen(model, config) for model in own):
        heads = total
    apart = () if heads is not None or total is None else (NOT_APART,)
    cells = {
        "train_params_m": (total, notes),
        "train_params_ft_m": (None if heads is None or total is None else total - heads, apart or notes),
        "train_params_dec_m": (heads, apart or notes),
    }
    for key, (count, why) in cells.items():
        if key in keys:
            row.put(key, Number(None if count is None else count / 1e6), why)
    if "train_params_printed" in keys:
        row.put("train_params_printed", None if total is None else counted(total))


def _counted(row: Draft, asked: list[Asked], of: Mapping[str, str]) -> list[Asked]:
    same = {axis: name for axis, name in row.axes.items() if axis not in of and name != "mean"}
    return [one for one in asked if all(one.axis(axis) == name for axis, name in (same | dict(of)).items())]


def _frozen(model: Model, config: Config) -> bool:
    """True if nothing but the head learns."""
    tuning = config.tunings.get(model.tuning)
    return tuning is not None and tuning.module == "frozen"


def _largest(models: Iterable[Model], known: Mapping[Model, int]) -> tuple[int | None, tuple[str, ...]]:
    there = {known[model] for model in models if model in known}
    return max(there, default=None), (LARGEST,) if len(there) > 1 else ()
