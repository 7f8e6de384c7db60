"""Pictures: Figure 4.1 and the others that ``segshift figures`` made; else what scoring drew of one shift."""

from html import escape
from pathlib import Path

from segshift.report import links as anchors
from segshift.report.facts import Facts, relative
from segshift.report.markup import files, image, note
from segshift.report.plots import Section

LARGEST = 3_000_000  # bytes of a picture that is put into the page


def section(facts: Facts) -> Section:
    """What is in ``results/figures``; without a figure, pictures of the best row's models."""
    files = sorted(facts.results.figures.glob("figure_*.png")) if facts.results.figures.exists() else []
    parts = [_figure(facts, file) for file in files]
    if not parts:
        parts = [
            note("No figure was made: name cells in figures.yaml, then segshift figures."),
            *_scored(facts),
        ]
    return Section("examples", "Pictures", "\n".join(parts))


def _figure(facts: Facts, file: Path) -> str:
    name = file.stem.removeprefix("figure_").replace("_", " ")
    others = [file.with_suffix(f".{ending}") for ending in ("svg", "pdf", "png")]
    found = [(other, path) for other in others if (path := relative(facts.results, other))]
    caption = file.with_suffix(".txt")
    told = caption.read_text().strip() if caption.exists() else ""
    parts = [f"<h3>Figure {escape(name)}</h3>", image(file.read_bytes(), "png", told or file.stem)]
    parts += [note(told)] if told else []
    return "\n".join([*parts, f'<p class="note">{files(found)}</p>'])


def _scored(facts: Facts) -> list[str]:
    """Worst, median and best volume on the source and one other target, of the best model in-domain."""
    diagonal = [one for (m, t), one in facts.tracked.scores.items() if t == m.source and not m.adapt]
    parts = []
    for score in sorted(diagonal, key=lambda one: -one.dice):
        folder = facts.results.run(score.cell) / "scores"
        targets = [t for (m, t) in facts.tracked.scores if m == score.model and t != score.target]
        for target in [score.target, *targets]:
            file = folder / f"{target}.png"
            if file.exists() and file.stat().st_size < LARGEST:
                where = f'<a href="#{anchors.cell(score.model)}">{escape(score.cell)}</a>'
                picture = image(file.read_bytes(), "png", f"{score.cell} on {target}")
                parts.append(f"<h3>{where} on {escape(facts.dataset(target))}</h3>\n{picture}")
        if parts:
            break
    return parts[:3]
