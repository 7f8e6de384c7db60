"""A comparison in words: lines for a terminal, a paragraph for a paper, a dictionary for programs."""

from collections.abc import Mapping
from typing import Any

from segshift.statistics.intervals import About, Interval
from segshift.tables.paired import STATISTICS, Comparison, Effect
from segshift.tables.table import DASH, rounded

DECIDING = 5  # patients that are named


def signed(value: float) -> str:
    """With its sign, and a true minus."""
    text = rounded(value)
    return text.replace("-", "−") if text.startswith("-") or float(text) == 0 else f"+{text}"


def p_value(p: float) -> str:
    """``p = 0.03`` or ``p < 0.001``."""
    return "p < 0.001" if p < 0.001 else f"p = {rounded(p, 3 if p < 0.1 else 2)}"


def between(interval: Interval) -> str:
    """``95 % interval +1.20 to +3.40``."""
    return f"{interval.level * 100:.0f} % interval {signed(interval.low)} to {signed(interval.high)}"


def lines(found: Comparison) -> list[str]:
    """What a terminal shows."""
    key, main = found.main
    said = [f"A: {found.one}", f"B: {found.other}", ""]
    said += [f"{STATISTICS[name]}: {_effect(one)}" for name, one in found.effects.items()]
    said += ["", _about(main), *_notes(found), "", "By dataset (signed ranks of patients; adjusted by Holm):"]
    for target, one in found.datasets.items():
        p = "" if one.p is None else f", {p_value(one.p)} (Holm {rounded(one.holm, 3)})"
        count = f", {one.patients} patients" if one.patients else ""
        said.append(f"  {target}: {_effect(one.effect, False)}{count}{p}")
    if found.classes:
        said += ["", "By class:"]
        ordered = sorted(found.classes.items(), key=lambda item: item[1].second - item[1].first)
        for (anatomy, name), one in ordered:
            values = f"A {rounded(one.first)}, B {rounded(one.second)}, {signed(one.first - one.second)}"
            said.append(f"  {anatomy}, {name}: {values} ({one.volumes} volumes)")
    return said + deciding(found, STATISTICS[key])


def _effect(one: Effect, flip: bool = True) -> str:
    text = f"A {rounded(one.first)}, B {rounded(one.second)}, A − B {signed(one.value)}"
    text += f", {between(one.interval)}" if one.interval else ""
    if flip and one.flipped:
        how = "all swaps" if one.flipped.exact else f"{one.flipped.swaps} swaps"
        text += f", {p_value(one.flipped.p)} ({how} of patients)"
    return text


def _about(main: Effect) -> str:
    return main.interval.about.explained if main.interval else "Patients are not known: there is no interval."


def _notes(found: Comparison) -> list[str]:
    value, p, count = found.cells
    said = []
    if count > 5:
        text = f"Over its {count} cells alike: {signed(value)}, signed ranks {p_value(p)}"
        said.append(f"{text}; cells share patients and models, so this is an illustration.")
    if found.left_out:
        said.append(f"{found.left_out} scores that have no partner on the other side are left out.")
    return [*said, *found.remarks]


def deciding(found: Comparison, title: str) -> list[str]:
    """The patients that decide a comparison."""
    if not found.patients:
        return []
    total, needed = sum(found.patients.values()), turning(found)
    favour = sum(part * total > 0 for part in found.patients.values())
    said = ["", f"Patients that decide {title}: {favour} of {len(found.patients)} favour {_better(total)}."]
    for (group, patient), part in list(found.patients.items())[:DECIDING]:
        said.append(f"  {patient} ({group}): {signed(part)} of {signed(total)}")
    if total and needed < favour:
        who = "the one patient that favours" if needed == 1 else f"the {needed} patients that favour"
        said.append(f"Without {who} it most, the lead would be gone.")
    return said


def _better(total: float) -> str:
    return "A" if total > 0 else "B" if total < 0 else "neither"


def turning(found: Comparison) -> int:
    """How few patients carry the lead: as many as add up to it, the largest first."""
    total = sum(found.patients.values())
    rest, count = abs(total), 0
    for part in sorted((part if total > 0 else -part for part in found.patients.values()), reverse=True):
        if rest <= 1e-9 or part <= 0:
            break
        rest, count = rest - part, count + 1
    return count


# ---- a paragraph -------------------------------------------------------------------------------------------


def paragraph(found: Comparison) -> str:
    """What a paper could say, and no more than the numbers bear."""
    (one, other), (key, main) = found.names or (found.one, found.other), found.main
    count = len(found.patients)
    where = _joined(list(found.datasets))
    seeds = "one seed" if len(found.seeds) == 1 else f"{len(found.seeds)} seeds"
    said = [
        f"We compared {one} with {other} on {where} ({f'{count} test patients, ' if count else ''}{seeds}), "
        "scoring both on the same volumes.",
        f"Mean Dice ({STATISTICS[key]}) was {rounded(main.first)} % against {rounded(main.second)} %, a "
        f"difference of {signed(main.value)} points{_evidence(main)}.",
        _verdict(main, one, other),
    ]
    parts = [
        f"{signed(one.value)} in {STATISTICS[name]}" for name, one in found.effects.items() if name != key
    ]
    if parts:
        said.append(f"The difference was {_joined(parts)}.")
    apart = [target for target, one in found.datasets.items() if one.holm is not None and one.holm < 0.05]
    if any(one.holm is not None for one in found.datasets.values()):
        which = _joined(apart) if apart else "none of the datasets"
        said.append(f"Dataset by dataset (Wilcoxon signed ranks, Holm), {which} showed a difference at 0.05.")
    if main.interval:
        said.append(_scope(main.interval.about))
    return " ".join([*said, *found.remarks])


def _evidence(main: Effect) -> str:
    if main.interval is None or main.flipped is None:
        return ""
    return f" ({between(main.interval)}; sign-flip permutation by patient, {p_value(main.flipped.p)})"


def _verdict(main: Effect, one: str, other: str) -> str:
    if main.interval is None:
        return "Without the patients behind the scores we cannot say how sure this is."
    if not main.interval.excludes_zero:
        return "The interval includes zero: these data do not show which of the two is better."
    better, worse = (one, other) if main.value > 0 else (other, one)
    return f"The interval excludes zero, in favour of {better} over {worse}."


def _scope(about: About) -> str:
    return {
        About.METHOD: "The interval covers new patients and new training seeds.",
        About.MODELS: "The interval covers new patients for these trained models, not new training runs.",
        About.ONE_SEED: "Each was trained once: the interval covers new patients for these trained models "
        "and says nothing of new training runs.",
    }[about]


def _joined(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}" if words else DASH


# ---- for programs ------------------------------------------------------------------------------------------


def as_json(found: Comparison) -> dict[str, Any]:
    """The whole comparison; numbers with all digits."""
    key, _ = found.main
    return {
        "a": found.one,
        "b": found.other,
        "seeds": list(found.seeds),
        "effects": {name: _effect_json(one) for name, one in found.effects.items()},
        "datasets": {
            target: _effect_json(one.effect)
            | {"patients": one.patients, "wilcoxon_p": one.p, "holm_p": one.holm}
            for target, one in found.datasets.items()
        },
        "classes": [
            {"anatomy": anatomy, "class": name, "a": one.first, "b": one.second, "volumes": one.volumes}
            for (anatomy, name), one in found.classes.items()
        ],
        "patients": {
            "statistic": key,
            "parts": [
                {"group": group, "patient": patient, "part": part}
                for (group, patient), part in found.patients.items()
            ],
        },
        "cells": dict(zip(("mean_difference", "wilcoxon_p", "count"), found.cells, strict=True)),
        "left_out": found.left_out,
        "remarks": list(found.remarks),
        "paragraph": paragraph(found),
    }


def _effect_json(one: Effect) -> Mapping[str, Any]:
    interval, flipped = one.interval, one.flipped
    return {
        "a": one.first,
        "b": one.second,
        "difference": one.value,
        "interval": None if interval is None else [interval.low, interval.high],
        "about": None if interval is None else interval.about.value,
        "seed_part": None if interval is None else interval.seed_part,
        "patient_part": None if interval is None else interval.patient_part,
        "df": None if interval is None else interval.df,
        "permutation_p": None if flipped is None else flipped.p,
        "permutation_exact": None if flipped is None else flipped.exact,
        "scores": one.scores,
    }
