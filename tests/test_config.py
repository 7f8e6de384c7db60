"""Every mistake in ``config/`` is one sentence that names the file, the entry, the key and what is known."""

import shutil
from pathlib import Path

import pytest
import yaml

from segshift import config as configuration
from segshift import grid, modules
from segshift.errors import SegShiftError

ROOT = Path(__file__).parents[1]
CONFIG = ROOT / "config"
PLUGINS = ("backbones", "tunings", "heads", "adaptations", "datasets")


@pytest.fixture
def folder(tmp_path):
    """A copy of the thesis's configuration, to be damaged."""
    return Path(shutil.copytree(CONFIG, tmp_path / "config"))


def edit(folder, file, **entries):
    """Lay keys over entries of a file; an entry of None is removed."""
    path = folder / f"{file}.yaml"
    content = yaml.safe_load(path.read_text())
    for name, change in entries.items():
        if change is None:
            del content[name]
        elif isinstance(change, dict):
            content[name] = (content.get(name) or {}) | change
        else:
            content[name] = change
    path.write_text(yaml.safe_dump(content, sort_keys=False))


# ---- what is there -------------------------------------------------------------------------------


def test_all_names_of_the_protocol():
    config = configuration.read(CONFIG)
    sizes = {"dinov2": "sblg", "sam": "blh", "mae": "blh", "medsam": "b"}
    backbones = {f"{name}_{size}" for name, letters in sizes.items() for size in letters}
    backbones |= {f"dinov2_{size}_reg" for size in "sblg"}
    backbones |= {f"resnet{depth}" for depth in (18, 34, 50, 101, 152)}
    assert set(config.backbones) >= backbones | {"unet", "swin_unet", "lite_medsam"}
    heads = "linear segformer da da_small resnet unet unet_small sam sam_fpe hsam hqsam hqhsam"
    assert set(config.heads) >= {*heads.split(), "own", "linear_last", "pyramid"}
    assert set(config.tunings) >= {"frozen", "full", "rein", "rein_lora", "ladder_d", "ladder_r"}
    assert set(config.adaptations) >= {"self_training", "entropy_min", "finetune", "mean_teacher"}
    datasets = "hcp1 hcp2 abide_c abide_s nci usz verse mrsegv brats_t1 brats_flair"
    public = {f"{name}_public" for name in datasets.split() if name != "usz"}
    assert set(config.datasets) == set(datasets.split()) | public
    assert {name: entry.form_of for name, entry in config.datasets.items() if entry.form_of} == {
        name: name.removesuffix("_public") for name in public
    }
    classes = {name: len(anatomy.classes) for name, anatomy in config.anatomies.items()}
    assert classes == {"brain": 15, "prostate": 3, "spine": 6, "tumor": 3}
    assert all(len(anatomy.colours) == len(anatomy.classes) for anatomy in config.anatomies.values())


def test_every_name_has_a_label():
    config = configuration.read(CONFIG)
    files = {"anatomy": "anatomies", "dataset": "datasets", "backbone": "backbones", "tuning": "tunings"}
    for kind, file in (files | {"head": "heads", "adapt": "adaptations"}).items():
        labels = set(config.labels[kind]) - {"none"}
        assert labels == set(getattr(config, file)), kind


def test_domains_of_the_same_people_share_a_pool():
    datasets = configuration.read(CONFIG).datasets
    assert datasets["hcp1"].patients == datasets["hcp2"].patients
    assert datasets["brats_t1"].patients == datasets["brats_flair"].patients


@pytest.mark.parametrize("file", PLUGINS)
def test_planned_exactly_where_the_module_is_missing(file):
    """Fails when a module was written and entries still wait for it: take their ``planned: true`` away."""
    entries = getattr(configuration.read(CONFIG), file)
    planned = {name for name, entry in entries.items() if entry.planned}
    assert planned == {name for name, entry in entries.items() if entry.module not in modules.available(file)}


def test_only_a_known_checksum_is_written_down():
    weights = configuration.read(CONFIG).weights
    assert {name for name, entry in weights.items() if entry.sha256} == {"lite_medsam"}
    assert weights["lite_medsam"].pretrained_on == "unknown"
    assert all(entry.url or entry.hub or entry.package for entry in weights.values())
    assert all(entry.url.endswith(entry.file) for entry in weights.values() if entry.url)
    # timm's own copies are all called model.safetensors, each in a repository of its own
    for entry in (one for one in weights.values() if one.hub):
        name, revision = entry.hub.removeprefix("timm/").split("@")
        assert (entry.file, revision) == (f"{name}.safetensors", "main")


@pytest.mark.parametrize("file", sorted(CONFIG.glob("*.yaml")), ids=lambda file: file.name)
def test_every_file_says_what_it_is(file):
    lines = file.read_text().splitlines()
    comment = next(number for number, line in enumerate(lines) if not line.startswith("#"))
    assert 2 <= comment <= 4
    assert max(map(len, lines)) <= 120


# ---- unknown names -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "entries", "sentence"),
    [
        (
            "backbones",
            {"dinov2_b": {"module": "tim"}},
            "dinov2_b: unknown module 'tim'; did you mean 'timm'\\? known: ",
        ),
        ("heads", {"linear": {"module": "liner"}}, "linear: unknown module 'liner'; did you mean 'linear'"),
        ("tunings", {"rein": {"module": "reins"}}, "rein: unknown module 'reins'; did you mean 'rein'"),
        ("adaptations", {"finetune": {"module": "fine"}}, "finetune: unknown module 'fine'"),
        (
            "datasets",
            {"nci": {"module": "hdf5_stak"}},
            "nci: unknown module 'hdf5_stak'; did you mean 'hdf5_stack'",
        ),
        (
            "datasets",
            {"nci": {"anatomy": "prostrate"}},
            "nci: unknown anatomy 'prostrate'; did you mean 'prostate'",
        ),
        ("datasets", {"new": {"like": "hpc1"}}, "new: like 'hpc1'; did you mean 'hcp1'"),
        (
            "datasets",
            {"nci": {"labels": {1: "zone"}}},
            "nci: labels: unknown class 'zone'.* known: background, central",
        ),
        (
            "datasets",
            {"nci": {"preprocess": ["percentil"]}},
            "nci: preprocess: unknown step 'percentil'; did you mean",
        ),
        (
            "datasets",
            {"nci": {"preprocess": [{"resample": {"pixels": 1}}]}},
            "nci: preprocess: resample: unknown key 'pixels'; did you mean 'pixel'",
        ),
        (
            "backbones",
            {"mae_b": {"weights": "mae_base"}},
            "mae_b: unknown weights 'mae_base'; did you mean 'mae_vit_base'",
        ),
        ("tunings", {"ladder_d": {"side": "dino"}}, "ladder_d: side: unknown backbone 'dino'"),
        (
            "heads",
            {"sam": {"init": {"prompt_encoder": "sam"}}},
            "sam: init: prompt_encoder: unknown weights 'sam'",
        ),
        (
            "weights",
            {"lite_medsam": {"pretrained_on": {"nic": "same"}}},
            "lite_medsam: pretrained_on: unknown dataset",
        ),
        ("labels", {"backbnoe": {"unet": "U"}}, "unknown kind of name 'backbnoe'; did you mean 'backbone'"),
    ],
)
def test_unknown_names(folder, file, entries, sentence):
    edit(folder, file, **entries)
    with pytest.raises(SegShiftError, match=f"{file}.yaml: {sentence}"):
        configuration.read(folder)


def test_an_unknown_name_stops_where_a_planned_one_does_not(folder):
    grid.read(folder)  # names many planned entries
    edit(folder, "heads", hqhsam=None)
    with pytest.raises(
        SegShiftError, match=r"experiments.yaml: heads: unknown head 'hqhsam'; did you mean 'hqsam'"
    ):
        grid.read(folder)


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        (
            {"where": {"bakbone": "unet"}, "use": {}},
            "entry 21: unknown axis 'bakbone'; did you mean 'backbone'",
        ),
        (
            {"where": {"source": "nci"}, "use": {}},
            "entry 21: unknown axis 'source'.* known: backbone, tuning, head",
        ),
        ({"where": {"backbone": "dino_*"}, "use": {}}, "entry 21: backbone 'dino_\\*'.* known: dinov2_s"),
        (
            {"where": {"adapt": "selftraining"}, "use": {}},
            "entry 21: adapt 'selftraining'; did you mean 'self_training'",
        ),
        (
            {"use": {"lerning_rate": 1}},
            "entry 21: unknown setting 'lerning_rate'; did you mean 'learning_rate'",
        ),
        (
            {"use": {"augment": {"elastik": {}}}},
            "entry 21: augment: unknown transform 'elastik'; did you mean 'elastic'",
        ),
        (
            {"use": {"augment": {"elastic": {"sigmar": 2}}}},
            "entry 21: augment: elastic: unknown key 'sigmar'; did you mean 'sigma'",
        ),
        ({"where": {}, "use": {}, "wehre": {}}, "entry 21: unknown key 'wehre'; did you mean 'where'"),
    ],
)
def test_mistakes_in_training(folder, line, sentence):
    file = folder / "training.yaml"
    file.write_text(yaml.safe_dump([*yaml.safe_load(file.read_text()), line]))
    with pytest.raises(SegShiftError, match=f"training.yaml: {sentence}"):
        configuration.read(folder)


@pytest.mark.parametrize(
    ("use", "sentence"),
    [
        ({"learning_rate": "fast"}, "entry 21: learning_rate: input should be a valid number"),
        ({"epochs": 0}, "entry 21: epochs: input should be greater than 0"),
        ({"loss": "dise"}, "entry 21: loss: input should be 'cross_entropy'"),
    ],
)
def test_wrong_values_in_training(folder, use, sentence):
    file = folder / "training.yaml"
    file.write_text(yaml.safe_dump([*yaml.safe_load(file.read_text()), {"use": use}]))
    thesis = grid.read(folder)
    with pytest.raises(SegShiftError, match=f"training.yaml: {sentence}"):
        thesis.training(grid.Model.parse("hcp1/unet/full/own/42"))


def test_a_number_without_a_point_is_a_number(folder):
    """YAML takes 5e-5 for text."""
    file = folder / "training.yaml"
    file.write_text(f"{file.read_text()}\n- {{where: {{backbone: unet}}, use: {{learning_rate: 3e-5}}}}\n")
    training = grid.read(folder).training(grid.Model.parse("hcp1/unet/full/own/42"))
    assert training["learning_rate"] == 3e-5


# ---- unknown and missing keys --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "entries", "sentence"),
    [
        ("project", {"sedes": [1]}, "top level: unknown key 'sedes'; did you mean 'seeds'"),
        ("project", {"tracking": {"url": "x"}}, "tracking: unknown key 'url'; did you mean 'uri'"),
        ("anatomies", {"brain": {"clases": []}}, "brain: unknown key 'clases'; did you mean 'classes'"),
        ("datasets", {"nci": {"pixels": 1}}, "nci: unknown key 'pixels'; did you mean 'pixel'"),
        ("backbones", {"unet": {"widht": 32}}, "unet: unknown key 'widht'; did you mean 'width'"),
        ("tunings", {"rein": {"lenght": 50}}, "rein: unknown key 'lenght'; did you mean 'length'"),
        ("heads", {"linear": {"dropuot": 0}}, "linear: unknown key 'dropuot'; did you mean 'dropout'"),
        (
            "adaptations",
            {"finetune": {"patient": 1}},
            "finetune: unknown key 'patient'; did you mean 'patients'",
        ),
        (
            "weights",
            {"lite_medsam": {"license": "MIT"}},
            "lite_medsam: unknown key 'license'; did you mean 'licence'",
        ),
        ("experiments", {"heads": {"tittle": "x"}}, "heads: unknown key 'tittle'; did you mean 'title'"),
    ],
)
def test_unknown_keys(folder, file, entries, sentence):
    edit(folder, file, **entries)
    with pytest.raises(SegShiftError, match=f"{file}.yaml: {sentence}"):
        configuration.read(folder)


@pytest.mark.parametrize(
    ("file", "entries", "sentence"),
    [
        (
            "backbones",
            {"mine": {"module": "timm", "image_size": 224}},
            "mine: module 'timm' needs the key 'model'",
        ),
        ("backbones", {"mine": {"module": "unet"}}, "mine: image_size: field required"),
        ("backbones", {"unet": {"image_size": 0}}, "unet: image_size: input should be greater than 0"),
        ("heads", {"linear": {"module": None}}, "linear: module: input should be a valid string"),
        ("weights", {"sam_vit_b": {"sha256": "01ec64"}}, "sam_vit_b: sha256: string should match"),
        (
            "datasets",
            {"nci": {"plane": "axal"}},
            "nci: plane: input should be 'axial', 'coronal' or 'sagittal'",
        ),
        ("heads", {"My-Head": {"module": "linear"}}, "the name 'My-Head' .*may hold a-z, 0-9 and _ only"),
    ],
)
def test_wrong_and_missing_values(folder, file, entries, sentence):
    edit(folder, file, **entries)
    with pytest.raises(SegShiftError, match=f"{file}.yaml: {sentence}"):
        configuration.read(folder)


def test_missing_and_broken_files(folder):
    (folder / "heads.yaml").write_text("linear: {module: linear\nown: 3")
    with pytest.raises(SegShiftError, match=r"heads.yaml is not valid YAML: .*line 2"):
        configuration.read(folder)
    (folder / "heads.yaml").unlink()
    with pytest.raises(SegShiftError, match=r"heads\.yaml is missing"):
        configuration.read(folder)
    with pytest.raises(SegShiftError, match="there is no configuration folder"):
        configuration.read(folder / "nowhere")


# ---- siblings ------------------------------------------------------------------------------------

COARSE = {0: "background", 1: "thalamus", 2: "ventricles"}


def test_siblings_have_the_same_classes(folder):
    edit(folder, "datasets", coarse={"like": "abide_c", "labels": COARSE})
    with pytest.raises(
        SegShiftError, match=r"coarse: its classes differ .* sibling hcp1 .*amygdala.*brain_coarse"
    ):
        configuration.read(folder)
    edit(folder, "datasets", coarse={"anatomy": "brain_coarse"})
    edit(folder, "anatomies", brain_coarse={"classes": list(COARSE.values())})
    entry = configuration.read(folder).datasets["coarse"]
    assert (entry.folder, entry.patients, entry.labels) == ("brain/abide/caltech", "abide_c", COARSE)


def test_siblings_lie_in_the_same_plane(folder):
    edit(folder, "datasets", hcp2={"plane": "coronal"})
    with pytest.raises(SegShiftError, match="hcp2: is coronal, but its sibling hcp1 is axial"):
        configuration.read(folder)


def test_split_lists(folder):
    (folder / "splits" / "hcp.yaml").write_text("train: [1, 2]\nvalidation: [3]\ntest: [4]\n")
    edit(folder, "datasets", hcp1={"splits": "splits/hcp.yaml"})
    settings = grid.read(folder).dataset_settings("hcp1")
    assert settings["splits"] == {"train": ["1", "2"], "validation": ["3"], "test": ["4"]}
    (folder / "splits" / "hcp.yaml").write_text("train: [1]\nval: [2]\n")
    with pytest.raises(SegShiftError, match=r"hcp.yaml: split 'val'.* known: train, validation, test"):
        configuration.read(folder)
