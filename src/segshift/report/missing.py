"""What is not there: left out on purpose, failed, not made yet, not yet possible; with the reasons."""

from html import escape

from segshift.report.facts import Facts
from segshift.report.markup import folded, note
from segshift.report.plots import Section
from segshift.tables import asked as asking
from segshift.tables.asked import Asked

NOT_STARTED = "it was not started"  # what is said of a model without any log


def section(facts: Facts) -> Section:
    """Four lists, by reason."""
    left_out, waiting, failed, absent = ({} for _ in range(4))
    here = facts.tracked.scores
    names = {name for name in facts.asked if facts.grid.config.experiments[name].in_all} | set(
        facts.experiments
    )
    listed = dict.fromkeys(one.score for name in names for one in facts.asked[name])
    for one in facts.everything:
        if one.score not in listed or one.score in here:
            continue
        if one.left_out:
            _add(left_out, one.left_out, one)
        elif one.waits_for:
            _add(waiting, f"waits for {', '.join(one.waits_for)}", one)
        elif (why := facts.tracked.failures.get(one.model)) not in (None, NOT_STARTED):
            _add(failed, why, one)
        else:
            _add(absent, "not started" if why else "its score is not there", one)
    parts = [
        _list("Left out on purpose", left_out, "left out on purpose"),
        _list("Failed", failed, "failed"),
        _list("Missing", absent, "missing"),
        _list("Not yet possible", waiting, "not yet possible"),
    ]
    if facts.tracked.outdated:
        paths = ", ".join(sorted(model.path for model in facts.tracked.outdated))
        parts.append(note(f"Made by older code (segshift rerun --outdated makes them again): {paths}."))
    parts += [note(escape(remark)) for remark in asking.not_checked(facts.tracked.unchecked)]
    return Section("missing", "Left out, failed and missing", "\n".join(parts))


def _add(found: dict[str, dict[str, list[str]]], why: str, one: Asked) -> None:
    found.setdefault(why, {}).setdefault(one.model.path, []).append(one.target)


def _list(title: str, found: dict[str, dict[str, list[str]]], what: str) -> str:
    count = sum(len(targets) for models in found.values() for targets in models.values())
    if not count:
        return f"<h3>{title}</h3>\n{note('Nothing.')}"
    blocks = []
    for why, models in found.items():
        items = "\n".join(
            f"<li>{escape(path)} on {escape(', '.join(targets))}</li>" for path, targets in models.items()
        )
        own = sum(map(len, models.values()))
        blocks.append(folded(f"{escape(why)}: {own}", f"<ul>\n{items}\n</ul>"))
    scores = "1 score" if count == 1 else f"{count} scores"
    return f"<h3>{title}</h3>\n{note(f'{scores} {what}.')}\n" + "\n".join(blocks)
