"""Figures: what figures.yaml may say, which slice is shown, components as colours, scores as pictures."""

from statistics import fmean

import numpy as np
import pytest
import yaml

from segshift import grid as grids
from segshift.errors import SegShiftError
from segshift.figures import drawn, entries, examples, features, scored
from segshift.stages import figures

ROW = ["unet", "full", "own"]
EXAMPLES = {
    "kind": "examples",
    "rows": [{"target": "two", "source": "one", "row": ROW, "adapt": "finetune"}],
}
MAPS = {"kind": "heat_maps", "experiment": "shift"}


def put(project, **content):
    (project.config / "figures.yaml").write_text(yaml.safe_dump(content))
    return grids.read(project.config)


# ---- figures.yaml ------------------------------------------------------------------------------------------


def test_what_a_figure_is_made_of(project):
    grid = put(project, **{"4.1": EXAMPLES, "maps": MAPS | {"in_all": False}})
    found = entries.read(project.config, grid)
    cells = ["two/unet/full/own/0", "one/unet/full/own/0", "one/unet/full/own/0/finetune/two"]
    assert entries.needs(found["4.1"], grid) == (cells, [], ["two"], [])
    assert entries.needs(found["maps"], grid).scored == ["one/unet/full/own/0", "two/unet/full/own/0"]
    assert entries.usual(found, grid) == ["4.1"]


@pytest.mark.parametrize(
    ("figure", "said"),
    [
        (MAPS | {"experiment": "shfit"}, "unknown experiment.*shfit.*shift"),
        (MAPS | {"rows": [["unet", "full", "linear"]]}, "shift has no unet/full/linear"),
        (MAPS | {"colour": "red"}, "colour"),
        ({"kind": "pie"}, "pie"),
        (
            EXAMPLES | {"rows": [EXAMPLES["rows"][0] | {"seed": 7}]},
            "no experiment has the cell two/unet/full/own/7",
        ),
        ({"kind": "features", "backbones": ["unet"], "datasets": ["tow"]}, "unknown dataset.*tow.*two"),
    ],
)
def test_mistakes_name_the_figure(project, figure, said):
    grid = put(project, odd=figure)
    with pytest.raises(SegShiftError, match=rf"figures\.yaml: odd.*{said}"):
        entries.read(project.config, grid)


def test_an_unknown_figure_and_a_configuration_without_figures(project):
    with pytest.raises(SegShiftError, match="has no figures"):
        figures.run(project.config, project.results)
    put(project, maps=MAPS)
    with pytest.raises(SegShiftError, match="unknown figure.*mapps.*maps"):
        figures.run(project.config, project.results, ["mapps"])
    with pytest.raises(SegShiftError, match="no model of the figure has a score yet"):
        figures.run(project.config, project.results, ["maps"])
    assert not project.results.figures.exists()


def test_the_thesis_figures_name_cells_that_there_are():
    grid = grids.read("config")
    found = entries.read("config", grid)
    shown = [(one.target, one.row.backbone, one.source) for one in found["4.1"].rows]
    assert shown == [
        ("hcp2", "mae_b", "hcp1"),
        ("mrsegv", "sam_l", "verse"),
        ("nci", "mae_b", "usz"),
        ("brats_flair", "dinov2_b", "brats_t1"),
    ]
    assert entries.usual(found, grid) == []


# ---- the slice ---------------------------------------------------------------------------------------------


class Shown:
    """Two volumes of four foreground classes; slices show so many of them."""

    classes = ("background", "a", "b", "c", "d")

    def __init__(self, folder):
        self.folder = folder

    def volumes(self, split):
        assert split == "test"
        return [type("Info", (), {"id": name})() for name in ("v0", "v1")]

    def counts(self, split):
        return [np.array([[9, 0, 0, 0, 0], [9, 1, 0, 0, 2]]), np.array([[9, 1, 1, 1, 1], [9, 5, 0, 0, 0]])]

    def slice(self, split, volume, place):
        return volume, place


def test_only_slices_with_at_least_half_of_the_classes_are_drawn_and_the_seed_decides(tmp_path):
    prepared = Shown(tmp_path)
    assert drawn.candidates(prepared) == [("v0", 1), ("v1", 0)]
    found = [drawn.draw(prepared, seed)[:2] for seed in range(20)]
    assert set(found) == {("v0", 1), ("v1", 0)}
    assert found == [drawn.draw(prepared, seed)[:2] for seed in range(20)]


def test_dice_of_a_slice():
    truth = np.array([[1, 1, 2], [0, 0, 0]])
    prediction = np.array([[1, 0, 2], [0, 3, 0]])
    # class 1: 2·1 / (2 + 1), class 2: 1, class 3: 0, class 4 is in neither
    assert examples.slice_dice(prediction, truth, 5) == pytest.approx(100 * (2 / 3 + 1 + 0) / 3)
    assert examples.slice_dice(np.zeros((2, 2)), np.zeros((2, 2)), 3) is None


# ---- components as colours ---------------------------------------------------------------------------------


def test_colours_are_the_components_of_all_slices_together():
    random = np.random.default_rng(3)
    maps = [random.normal(size=(4, 5, 12)) * np.arange(1, 13) + shift for shift in (0, 4)]
    found = features.colours(maps)
    assert [one.shape for one in found] == [(4, 5, 3)] * 2
    together = np.concatenate([one.reshape(-1, 12) for one in maps])
    values, vectors = np.linalg.eigh(np.cov(together, rowvar=False))  # in rising order
    expected = together @ vectors[:, np.argsort(-values)[:3]]
    own = np.concatenate([one.reshape(-1, 3) for one in found])
    for component in range(3):
        inside = (own[:, component] > 0) & (own[:, component] < 1)  # the ends are cut off
        correlation = np.corrcoef(own[inside, component], expected[inside, component])[0, 1]
        assert abs(correlation) == pytest.approx(1)
    assert own.min() == 0 and own.max() == 1


# ---- numbers -----------------------------------------------------------------------------------------------


def test_heat_maps_and_dice_by_class_show_what_score_files_say(project):
    grid = put(project, maps=MAPS, classes={"kind": "class_dice", "experiment": "shift"})
    project.complete()  # means of volumes: 40 and 60, 30, 70, 1/3
    found = entries.read(project.config, grid)
    picture, caption = scored.make(found["maps"], grid, project.results)
    (axis,) = picture.axes
    shown = {text.get_position(): text.get_text() for text in axis.texts}
    assert shown == {(0, 0): "50.0", (1, 0): "30.0", (0, 1): "0.3", (1, 1): "70.0"}
    assert caption.startswith("Shift. Dice in %, the mean over seeds (0)")
    picture, _ = scored.make(found["classes"], grid, project.results)
    inside, outside = picture.axes[0].lines
    # gray: 40 and 50 on one, 70 on two; white: 70 in one volume, 70
    assert inside.get_xdata() == pytest.approx([fmean([45, 70]), fmean([70, 70])])
    assert outside.get_xdata() == pytest.approx([fmean([30, 1 / 3])] * 2)


def test_three_formats_of_the_same_bytes_and_a_caption(project):
    put(project, maps=MAPS)
    project.complete()
    figures.run(project.config, project.results)
    files = {file.name: file.read_bytes() for file in project.results.figures.iterdir()}
    assert sorted(files) == [f"figure_maps.{ending}" for ending in ("pdf", "png", "svg", "txt")]
    figures.run(project.config, project.results)
    assert files == {file.name: file.read_bytes() for file in project.results.figures.iterdir()}
