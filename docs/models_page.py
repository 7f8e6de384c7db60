"""``docs/models.md``: every entry with its source, size, cost and licence, and a diagram of every head."""

import re
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from segshift import modules, plugins
from segshift.combinations import ORIGINAL, entry, of_names
from segshift.counts import Counter
from segshift.entries import Config
from segshift.errors import SegShiftError

FACTS: dict[str, Any] = yaml.safe_load((Path(__file__).parent / "models.yaml").read_text())
CLASSES = 15
PLAIN = {"backbone": "mae_b", "tuning": "frozen", "head": "hqhsam"}  # beside what is counted
HEADS_ON, TUNINGS_ON = ("mae_b", "dinov2_b"), ("dinov2_b", "sam_b", "mae_b")
INTRODUCTION = """# Models

Written by `docs/generate.py` from `config/`. Counts are exact. GFLOPs are those of one forward pass of one
slice, a multiplication and an addition being two. `segshift parameters` counts any combination;
[parameters.csv](parameters.csv) compares with the thesis. Weights have licences of their own.

Of a variant it is said what differs from the entry that it varies; of the others, what from their source.

## Backbones

All maps, at the entry's image size.

"""
TUNINGS = f"""
## Tunings

What learns beside the head `{PLAIN["head"]}`; – where the two do not fit. GFLOPs are what the tuning adds to
`{PLAIN["backbone"]}`.

"""
HEADS = f"""
## Heads

What learns with {CLASSES} classes (`own` on `unet`), and the head's own GFLOPs on `{HEADS_ON[0]}`.

"""


def text(config: Config, counter: Counter) -> str:
    """The whole page."""
    parts = [INTRODUCTION, _table(_backbones(config, counter)), TUNINGS, _table(_tunings(config, counter))]
    parts += [HEADS, _table(_heads(config, counter)), "\n", "\n".join(_diagrams(config, counter))]
    return "".join(parts)


# ---- tables ------------------------------------------------------------------------------------------------


def _backbones(config: Config, counter: Counter) -> Iterator[list[str]]:
    yield ["Name", "Source", "Parameters", "GFLOPs", "Weights file", "Licence", "What differs"]
    for name, found in _there(config, "backbone"):
        count = counter.count_backbone(entry(config, "backbone", name))
        size = count.trainable + count.frozen
        weights = [found.weights] if found.weights else []
        files = _files(config, weights) or ["– (random)", "–"]
        yield [
            f"`{name}`",
            _source("backbone", name),
            f"{size:,}",
            f"{count.gflops:,.2f}",
            *files,
            _differs(config, "backbone", name),
        ]


def _tunings(config: Config, counter: Counter) -> Iterator[list[str]]:
    yield [
        "Name",
        "Source",
        *(f"on `{one}`" for one in TUNINGS_ON),
        "GFLOPs",
        "Weights file",
        "Licence",
        "What differs",
    ]
    plain = counter.passes(of_names(config, PLAIN, CLASSES).combination)[0].flops
    for name, found in _there(config, "tuning"):
        sizes = [_learning(config, counter, one, name) for one in TUNINGS_ON]
        passed = counter.passes(of_names(config, PLAIN | {"tuning": name}, CLASSES).combination)[0]
        side = config.backbones[found.side].weights if found.side else None
        files = _files(config, [side] if side else []) or ["–", "–"]
        more = f"{(passed.flops - plain) / 1e9:+,.2f}"
        yield [f"`{name}`", _source("tuning", name), *sizes, more, *files, _differs(config, "tuning", name)]


def _heads(config: Config, counter: Counter) -> Iterator[list[str]]:
    titles = [f"on `{one}`" for one in HEADS_ON]
    yield ["Name", "Source", *titles, "GFLOPs", "Weights file", "Licence", "What differs"]
    for name, found in _there(config, "head"):
        combinations = []
        for one in HEADS_ON:
            parts = {"backbone": one, "tuning": "frozen", "head": name}
            if found.module == "own":
                parts |= {"backbone": "unet", "tuning": "full"}
            combinations.append(of_names(config, parts, CLASSES).combination)
        cells = [f"{sum(counter.sizes(one)['head'].values()):,}" for one in combinations]
        cells.append(f"{counter.passes(combinations[0])[1].flops / 1e9:,.2f}")
        init = [one for one in found.init.values() if one and one != "backbone"]
        files = _files(config, init) or ["–", "–"]
        if "backbone" in found.init.values():
            files[0] += "; the neck as its backbone says"
        yield [f"`{name}`", _source("head", name), *cells, *files, _differs(config, "head", name)]


def _there(config: Config, part: str) -> Iterable[tuple[str, Any]]:
    return [(name, one) for name, one in getattr(config, f"{part}s").items() if not one.planned]


def _learning(config: Config, counter: Counter, backbone: str, tuning: str) -> str:
    names = PLAIN | {"backbone": backbone, "tuning": tuning}
    try:
        sizes = counter.sizes(of_names(config, names, CLASSES).combination)
    except SegShiftError:  # two modules that refuse each other
        return "–"
    return f"{sum(sizes['backbone'].values()) + sum(sizes['tuning'].values()):,}"


def _files(config: Config, weights: list[str]) -> list[str]:
    """Files and licences."""
    found = [config.weights[name] for name in dict.fromkeys(weights)]
    licences = dict.fromkeys(one.licence for one in found)
    return [", ".join(f"`{one.file}`" for one in found), ", ".join(licences)] if found else []


def _fact(part: str, name: str) -> dict[str, str]:
    name = name.removesuffix(ORIGINAL)
    return next((one for one in FACTS[part] if fnmatchcase(name, one["names"])), {})


def _source(part: str, name: str) -> str:
    return _fact(part, name).get("source", "see the module's text")


def _differs(config: Config, part: str, name: str) -> str:
    """Of a variant, its other keys and what its module says about `original: true`; else what is written."""
    entries = getattr(config, f"{part}s")
    base = name.removesuffix(ORIGINAL)
    if base == name or base not in entries:
        return _fact(part, name).get("differs", "–")
    ours, theirs = (entries[one].model_dump(exclude_unset=True) for one in (name, base))
    said = _of_original(part, entries[name].module) if ours.pop("original", None) else ""
    keys = [f"`{key}: {value}`" for key, value in ours.items() if theirs.get(key) != value]
    keys += [f"no `{key}`" for key in theirs if key not in ours]
    return f"As `{base}`{', but ' * bool(keys)}{', '.join(keys)}. {said}".strip()


def _of_original(part: str, module: str) -> str:
    """What a module's text says about `original: true`, on one line."""
    words = " ".join((plugins.load(f"{part}s", module).__doc__ or "").replace("\n\n", " ¶ ").split())
    said = re.search(r"``original: true``[^¶]*", words)
    return said[0].strip().replace("``", "`") if said else ""


def _table(rows: Iterable[list[str]]) -> str:
    first, *others = rows
    numbers = {
        at for at, title in enumerate(first) if title.startswith("on ") or title in ("Parameters", "GFLOPs")
    }
    rule = [" ---: " if at in numbers else " --- " for at in range(len(first))]
    lines = [f"| {' | '.join(row)} |" for row in (first, *others)]
    return "\n".join([lines[0], f"|{'|'.join(rule)}|", *lines[1:]]) + "\n"


# ---- diagrams ----------------------------------------------------------------------------------------------


def _diagrams(config: Config, counter: Counter) -> Iterator[str]:
    used = {found.module for _, found in _there(config, "head")}
    for module in sorted(used & set(modules.available("heads"))):
        drawn = FACTS["diagrams"].get(module)
        yield f"### Head module `{module}`\n"
        if drawn is None:
            yield f"No diagram is written for it yet; see `src/segshift/heads/{module}.py`.\n"
            continue
        backbone, head = drawn["of"]
        shapes = _shapes(config, counter, backbone, head)
        side = config.backbones[backbone].image_size
        yield f"`{head}` on `{backbone}` at {side} px, {CLASSES} classes.\n"
        text = drawn["text"]
        for name in set(re.findall(r"\{([\w.]+)\}", text)):
            text = text.replace(f"{{{name}}}", shapes[name])
        yield "\n".join(
            ["```mermaid", "flowchart LR", *(f"    {one}" for one in text.splitlines()), "```", ""]
        )


def _shapes(config: Config, counter: Counter, backbone: str, head: str) -> dict[str, str]:
    """What every part of a head gives for one slice, its maps and its outputs."""
    names = {"backbone": backbone, "tuning": "frozen", "head": head}
    model, _ = counter.build(of_names(config, names, CLASSES).combination)
    shapes: dict[str, str] = {}

    def note(name: str, output: Any) -> None:
        first = output[0] if isinstance(output, tuple | list) else output
        if isinstance(first, Tensor):
            shapes[name] = "×".join(str(length) for length in first.shape[1:])

    handles = [
        part.register_forward_hook(lambda _, __, output, name=name: note(name, output))
        for name, part in model.head.named_modules()
    ]
    maps = [
        torch.empty(1, one.channels, *one.grid, device="meta")
        for one in map(model.backbone.maps.__getitem__, model.taps)
    ]
    with torch.device("meta"), torch.no_grad():
        outputs = model.head(maps)
    for handle in handles:
        handle.remove()
    for kind, tensors in (("map", maps), ("logits", outputs)):
        for index, one in enumerate(tensors):
            note(f"{kind}.{index}", one)
    return shapes
