"""What the documents name exists: commands and their options, files, make targets, cells of the demo."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest
import torch

from segshift import cli, contracts, grid, inference, plugins
from segshift.prepared import SPLITS
from segshift.stages import rerun

ROOT = Path(__file__).parents[1]
DOCUMENTS = ["README.md", "CONTRIBUTING.md", *sorted(f"docs/{file.name}" for file in ROOT.glob("docs/*.md"))]
MADE = re.compile(r"(results|demo|data|\.venv)(/|$)|config/site\.yaml|src/segshift/heads/probe\.py")
PLACEHOLDER = re.compile(r"[<>*]|CELL|NAME")


def blocks(document: str, language: str = "") -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / document).read_text(), re.M | re.S)


def spans(document: str) -> list[str]:
    text = re.sub(r"^```.*?^```", "", (ROOT / document).read_text(), flags=re.M | re.S)
    return re.findall(r"`([^`\n]+)`", text)


def commands(document: str) -> list[str]:
    """Lines of code blocks without a language, and code in sentences."""
    lines = [line.split("  #")[0].strip() for block in blocks(document) for line in block.splitlines()]
    return lines + spans(document)


SEGSHIFT = sorted({(d, c) for d in DOCUMENTS for c in commands(d) if c.startswith("segshift ")})


@pytest.mark.parametrize(("document", "command"), SEGSHIFT)
def test_a_command_has_this_verb_and_these_options(document, command):
    words = shlex.split(command)[1:]
    verbs = next(action.choices for action in cli.parser()._actions if action.choices)
    if len(words) == 1 and words[0] in verbs:
        return  # a verb in a sentence; its arguments are not the point
    if words[-1] == "--help":
        with pytest.raises(SystemExit, match="0"):
            cli.parser().parse_args(words)
    else:
        cli.parser().parse_args(words)  # it exits on an unknown option


def test_the_stages_by_hand_are_those_of_the_demo():
    expanded = grid.read(ROOT / "config/demo")
    (block,) = [block for block in blocks("README.md") if "segshift settings --write" in block]
    lines = [cli.parser().parse_args(shlex.split(line)[1:]) for line in block.splitlines()]
    verbs = [line.verb for line in lines]
    rules = [file.stem for file in (ROOT / "workflow/rules").glob("*.smk")]
    assert set(rules) - {"common", "hooks", "row"} <= set(verbs)  # a row is of `train`, with `--row`
    for line in lines:
        for cell in (
            [line.cell] if isinstance(getattr(line, "cell", None), str) else getattr(line, "cell", ()) or ()
        ):
            assert cell in expanded.jobs
        assert set(getattr(line, "dataset", ())) <= set(expanded.config.datasets)
        assert set(getattr(line, "weights", ())) <= set(expanded.config.weights)
        assert set(getattr(line, "experiment", ())) <= set(expanded.experiments)
    built = expanded.scored("adaptation")
    assert {line.cell for line in lines if line.verb == "evaluate"} <= set(built)


def paths(document: str) -> set[str]:
    folders = "|".join(entry.name for entry in ROOT.iterdir() if entry.is_dir() and entry.name[0] != ".")
    words = [word for command in commands(document) for word in command.split()]
    named = {word for word in words if re.match(rf"({folders})/[\w./<>-]*$", word)}
    links = re.findall(r"\]\(([^)#:]+)\)", (ROOT / document).read_text())
    here = (ROOT / document).parent
    return named | {str((here / link).resolve().relative_to(ROOT)) for link in links}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_a_path_exists_or_is_made(document):
    found = paths(document)
    assert found
    lost = [
        p
        for p in sorted(found)
        if not (ROOT / p).exists() and not MADE.match(p) and not PLACEHOLDER.search(p)
    ]
    assert lost == []


def test_make_targets():
    makefile = (ROOT / "Makefile").read_text()
    targets = re.search(r"^\.PHONY: (.*)$", makefile, re.M)[1].split()
    said = subprocess.run(
        ["make", "--no-print-directory", "help"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert sorted(targets) == sorted(line.split()[1] for line in said.splitlines())
    for document in DOCUMENTS:
        for command in commands(document):
            if match := re.match(r"make (\w+)$", command):
                assert match[1] in targets, f"{document}: {command}"


def test_the_layout_of_results_names_every_file():
    (layout,) = [block for block in blocks("README.md") if block.startswith("results/\n")]
    named = {f"{split}.h5" for split in SPLITS} | {f"{name}.ckpt" for name in inference.CHECKPOINTS}
    for file in named | set(rerun.FILES) | {"settings.yaml", "manifest.json", "report.html"}:
        assert file in layout, file


def test_the_head_in_contributing_is_one():
    (source,) = blocks("CONTRIBUTING.md", "python")
    module: dict = {"__name__": "probe"}
    exec(compile(source, "CONTRIBUTING.md", "exec"), module)
    backbone = plugins.build("backbones", {"module": "unet", "image_size": 16, "width": 4, "depth": 2})
    taps = module["taps"](backbone)
    head = module["build"]([backbone.maps[tap] for tap in taps], 3, **module["EXAMPLE"])
    assert isinstance(head, contracts.Head)
    (logits,) = head(backbone(torch.rand(2, 3, 16, 16), taps))
    assert logits.shape == (2, 3, 16, 16)
