"""From scores to a table as its entry in ``tables.yaml`` lays it out."""

from collections.abc import Sequence

from segshift.grid import Grid
from segshift.measures import METRICS
from segshift.table_entries import CONTROLS, LOSS, STATISTICS, ScoreTable
from segshift.tables import asked as asking
from segshift.tables import columns as heads
from segshift.tables import comparing, controls
from segshift.tables.asked import Asked, Tracked
from segshift.tables.draft import Draft, rows
from segshift.tables.means import number, part
from segshift.tables.table import MEANS, Column, Number, Row, Table

UNKNOWN_PRETRAINING = "What its weights were pretrained on is unknown, so nothing could be left out."


def build(grid: Grid, name: str, asked: list[Asked], tracked: Tracked, remarks: Sequence[str] = ()) -> Table:
    """A table of ``tables.yaml``.

    Args:
        grid: the configuration, for names, order and what weights had seen.
        name: the table's number.
        asked: the scores of its experiments, see ``asked.of_grid`` and ``runs.asked``.
        tracked: what is known of them.
        remarks: what is to be said about all of it, before its own remarks.
    """
    entry, config = grid.config.tables[name], grid.config
    kept = chosen(entry.where, asked)
    drafts, said = _possible(entry, controls.rows(entry, rows(entry, kept, config)))
    beside: list[Asked] = []
    found = heads.columns(entry, drafts, kept, config)
    counted = chosen({axis: [name] for axis, name in entry.parameters.items()}, asked)
    for row in drafts:
        heads.texts(row, found, config, entry)
        heads.counts(row, found, counted, tracked, entry.parameters, config)
        _numbers(row, entry, found, tracked)
        others = controls.others(entry, row, kept)
        controls.fill(entry, row, found, others, tracked)
        beside += [one for ones in others.values() for one in ones]
        if any(grid.pretrained_on(one.model) == "unknown" for one in row.asked):
            row.put("backbone", row.cells.get("backbone"), (UNKNOWN_PRETRAINING,))
    drafts = _compared(entry, drafts, found)
    _fewer(drafts, found)
    everything = [one for row in drafts for one in row.asked]
    models = {one.model for one in everything}
    said += asking.by_older_code([model for model in tracked.outdated if model in models])
    said += seeds(everything, tracked) + asking.one_sampling(everything, grid)
    partial = bool(asking.lacks([*everything, *beside], tracked.scores))
    if partial and any(column.key == "rank" or heads.split(column.key)[1] for column in found):
        said.append("Ranks and differences are among the rows without a dash.")
    return Table(
        f"table_{name}",
        entry.title,
        tuple(found),
        tuple(_row(row, found) for row in drafts),
        (*remarks, *said, *filter(None, [entry.note])),
        partial,
        name if any(character.isdigit() for character in name) else "",
        f"{entry.shown.legend}: {MEANS}",
    )


def chosen(where: dict[str, list[str]], asked: list[Asked]) -> list[Asked]:
    """The scores that an entry's ``where`` keeps; what was made before adaptation is of every adaptation."""
    return [
        one
        for one in asked
        if all(one.axis(axis) in names or (axis == "adapt" and one.diagonal) for axis, names in where.items())
    ]


def _possible(entry: ScoreTable, drafts: list[Draft]) -> tuple[list[Draft], list[str]]:
    """Rows of which something can be shown, and what is said of the others."""
    dropped: dict[str, dict[str, None]] = {}
    kept, waiting = [], []
    everything = {one.anatomy for row in drafts for one in row.asked}
    for row in drafts:
        here = {one.anatomy for one in row.asked if not one.left_out}
        whole = "anatomy" in row.axes or "source" in row.axes or here == everything
        if not here or (entry.incomplete == "drop" and not whole):
            names = "/".join(name for axis, name in row.axes.items() if axis != "adapt" and name != "mean")
            reasons = dict.fromkeys(one.left_out for one in row.asked if one.left_out)
            dropped.setdefault("; ".join(reasons), {}).setdefault(names)
        elif asking.waits(row.asked):
            waiting.append(row.asked)
        else:
            kept.append(row)
    remarks = [f"Without {', '.join(names)}: {reason}." for reason, names in dropped.items()]
    return kept, remarks + asking.not_yet(waiting)


def _numbers(row: Draft, entry: ScoreTable, found: list[Column], tracked: Tracked) -> None:
    """The means of a row: those of its columns, and those that others are compared by."""
    needed = {heads.split(column.key)[0] for column in found} & set(STATISTICS)
    needed |= {"ov"} if any(column.key == "rank" for column in found) else set()
    needed |= {"ds", "dg"} if any(column.key == LOSS for column in found) else set()
    for key in sorted(needed):
        row.put(key, *number(part(row.asked, STATISTICS[key]), tracked, entry.average))
    for column in found:
        if column.kind == "dice" and column.key not in (*STATISTICS, *CONTROLS):
            row.put(column.key, *number(heads.of_pair(column.key, row), tracked))
        if column.key == LOSS:
            comparing.loss(row, "ds", "dg", LOSS)


def _compared(entry: ScoreTable, drafts: list[Draft], found: list[Column]) -> list[Draft]:
    rises = METRICS[entry.metric].rises
    if any(column.key == "rank" for column in found):
        drafts = comparing.ranked(drafts, rises=rises)
    for column in found:
        statistic, ending = heads.split(column.key)
        if ending:
            compare = comparing.of_sizes if ending == "_size_pct" else comparing.differences
            compare(drafts, statistic, column.key, rises)
    if entry.bold:
        comparing.embolden(drafts, entry.bold, rises)
    return drafts


def _fewer(drafts: list[Draft], found: list[Column]) -> None:
    """A mean over fewer sources or backbones than another row's says so; what was left out on purpose has its
    own footnotes."""
    first = next((column.key for column in found if column.shown), found[0].key)
    for axis, what in (("source", "Trained on {} only"), ("backbone", "The mean of {} only")):
        over = [{one.axis(axis) for one in row.asked} for row in drafts]
        for row, own in zip(drafts, over, strict=True):
            others = [names for other, names in zip(drafts, over, strict=True) if _alike(row, other, axis)]
            if axis in row.axes and row.axes[axis] != "mean":
                continue
            if set.union(*others) - own:
                note = what.format(", ".join(sorted(own)))
                row.put(first, row.cells.get(first), (f"{note}; other rows are means over more.",))


def _alike(row: Draft, other: Draft, axis: str) -> bool:
    """True if two rows are compared with each other."""
    return row.section == other.section and (row.axes.get(axis) == other.axes.get(axis))


def seeds(asked: list[Asked], tracked: Tracked) -> list[str]:
    """One remark if there is but one seed, or if only some models have several."""
    found: dict[object, set[int]] = {}
    for one in asked:
        if one.score in tracked.scores:
            found.setdefault(one.place, set()).add(one.model.seed)
    if not found or all(len(own) > 1 for own in found.values()):
        return []
    if any(len(own) > 1 for own in found.values()):
        return ["A number without ± is of one seed."]
    names = ", ".join(map(str, sorted(set.union(*found.values()))))
    return [f"One run a configuration (seed {names}): there is no standard deviation."]


def _row(row: Draft, found: list[Column]) -> Row:
    cells = tuple(
        row.cells.get(column.key, Number(None) if column.kind == "dice" else None) for column in found
    )
    return Row(cells, row.notes, row.section, row.axes)
