"""What the models were made with: versions, machines, settings, seeds, data, and licences of weights."""

import json
from collections import Counter
from html import escape
from typing import Any

from segshift import __version__
from segshift.report.facts import Facts, key
from segshift.report.markup import folded, many, note, table, words
from segshift.report.plots import Section


def section(facts: Facts) -> Section:
    """Tables of distinct values, with how many models have each."""
    if not facts.models:
        return Section("making", "Versions, settings, seeds, licences", note("No model has a score."))
    records = {model: facts.record(model) for model in facts.models}
    seeds = Counter(model.seed for model in facts.models)
    told = ", ".join(f"{seed} ({many(count, 'model')})" for seed, count in sorted(seeds.items()))
    parts = [note(f"Report by segshift {__version__}. Seeds: {told}."), "<h3>Versions</h3>"]
    parts.append(_counted([record.get("versions", {}) for record in records.values()], "Package", "Version"))
    machines = [
        {"machine": ", ".join(str(record[name]) for name in ("hardware", "device") if record.get(name))}
        for record in records.values()
    ]
    parts += [
        "<h3>Machines</h3>",
        _counted(machines, "What", "Hardware"),
        "<h3>Settings</h3>",
        _settings(facts),
    ]
    parts += ["<h3>Weights and their licences</h3>", _weights(facts), "<h3>Data</h3>", _data(facts)]
    return Section("making", "Versions, settings, seeds, licences", "\n".join(parts))


def listed(heads: tuple[str, ...], lines: list[tuple[str, ...]]) -> str:
    """A table of words."""
    return table(dict.fromkeys(heads, "text"), ["".join(map(words, line)) for line in lines])


def _counted(found: list[dict[str, Any]], what: str, value: str) -> str:
    counts = Counter((name, str(version)) for one in found for name, version in one.items() if version)
    if not counts:
        return note("Not recorded.")
    lines = [(name, version, str(count)) for (name, version), count in sorted(counts.items())]
    return listed((what, value, "Models"), lines)


def _settings(facts: Facts) -> str:
    """Training settings of each row as its models recorded them; folded, one block a row."""
    blocks = []
    for row in facts.rows:
        kinds = Counter(
            json.dumps(facts.record(model).get("configuration", {}).get("training", {}), sort_keys=True)
            for model in facts.models
            if key(model) == row
        )
        for text, count in kinds.items():
            values = json.loads(text)
            lines = [(name, json.dumps(value)) for name, value in values.items()]
            body = listed(("Setting", "Value"), lines) if lines else note("Not recorded.")
            blocks.append(folded(f"{escape(facts.row(row))} ({many(count, 'model')})", body))
    return "\n".join(blocks)


def _weights(facts: Facts) -> str:
    used = list(dict.fromkeys(name for model in facts.models for name in facts.grid.weights(model)))
    lines = []
    for name in used:
        entry = facts.grid.config.weights[name]
        seen = entry.pretrained_on if isinstance(entry.pretrained_on, str) else ", ".join(entry.pretrained_on)
        digest = entry.sha256 or next(
            (one for m in facts.models if (one := facts.record(m).get("files", {}).get(name))), "not recorded"
        )
        lines.append((name, entry.licence, seen or "none of these datasets", digest[:16]))
    if not lines:
        return note("No pretrained weights were used.")
    return listed(("Weights", "Licence", "Pretrained on", "sha256"), lines)


def _data(facts: Facts) -> str:
    """The prepared data's digests, as the models recorded them."""
    found = Counter(
        (name, digest[:16])
        for model in facts.models
        for name, digest in facts.record(model).get("data", {}).items()
    )
    lines = [(facts.dataset(name), digest, str(count)) for (name, digest), count in sorted(found.items())]
    if not lines:
        return note("Not recorded.")
    return listed(("Dataset", "sha256 of the prepared data", "Models"), lines)
