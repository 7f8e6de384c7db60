"""Adaptations as they run: what they may look at, what survives a kill, what is recorded, and the guard."""

import json
import shutil
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
import torch
from tests.engine.conftest import UNET, VIT_CELL, Fault, handlers_restored
from tests.engine.test_resume import MOMENTS, assert_finished_alike

from segshift import inference, scores
from segshift.cell import Cell
from segshift.errors import SegShiftError
from segshift.prepared import Prepared, digest, total_digest
from segshift.settings import read_settings
from segshift.slices import Draw, TrainingSlices, VolumeChunks
from segshift.stages import evaluate
from segshift.training import Training
from segshift.watch import Watch

RARE = {"sampling": "rare_class"}
TRAININGS = {"mean_teacher": RARE}
LONG = {"epochs": 24, "augment": {}}
CASES = ["entropy_min", "entropy_min_all", "self_training", "self_training_late", "finetune", "mean_teacher"]


def add(project, cell, name, **changes):
    return project.add(f"{cell}/{name}/b", training=TRAININGS.get(name, {}) | changes)


@pytest.fixture(scope="module")
def _specialist(datasets, tmp_path_factory):
    torch.set_num_threads(1)
    project = datasets.copy(tmp_path_factory.mktemp("specialist") / "results")
    with handlers_restored():
        project.add(UNET, training={"epochs": 8, "augment": {}})
        assert project.fit(UNET) == 0
    return project


@pytest.fixture
def specialist(_specialist, tmp_path):
    """A project with a U-Net that has seen the source's contrast alone, long enough to rely on it."""
    return _specialist.copy(tmp_path / "results")


def record(project, path):
    return json.loads((project.folder(path) / "run.json").read_text())


def curves(project, path):
    """All points but those of time, by step."""
    points = [point for attempt in project.attempts(path) for point in attempt.points]
    return [
        (p.step, {k: v for k, v in p.values.items() if not k.endswith("images_per_second")}) for p in points
    ]


# ---- hidden labels -----------------------------------------------------------------------------------------


def relabel(project, changes):
    """A copy of the dataset ``b`` with other labels of the volumes that ``changes(split, patient)`` names."""
    original = project.results.data("b").resolve()
    (project.root / "data").unlink()
    shutil.copytree(original.parent, project.root / "data")
    folder = project.results.data("b")
    manifest = json.loads((folder / "manifest.json").read_text())
    for split, content in manifest["splits"].items():
        with h5py.File(folder / f"{split}.h5", "r+") as file:
            for entry in content["volumes"]:
                if changes(split, entry["patient"]):
                    group = file[entry["id"]]
                    label = (group["label"][()] + 1) % 3
                    group["label"][...] = label
                    group["counts"][...] = np.stack([(label == c).sum((1, 2)) for c in range(3)], 1)
                    rest = (entry["patient"], entry["spacing"], np.array(entry["affine"]))
                    entry["sha256"] = digest(group["image"][()], label, *rest)
    splits = {split: content["volumes"] for split, content in manifest["splits"].items()}
    manifest["sha256"] = total_digest(splits)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    Prepared(folder).verify()


@pytest.mark.parametrize("name", CASES)
def test_a_hidden_label_changes_nothing(trained, tmp_path, name):
    """Of unlabelled patients, of the test split and, where it chooses no epoch, of the validation split."""
    path = add(trained, VIT_CELL, name)
    other = trained.copy(tmp_path / "other")
    assert trained.fit(path) == 0
    labelled = record(trained, path)["labelled"]
    blind = "entropy" in name
    assert len(labelled) == (0 if blind else 3 if name == "mean_teacher" else 1)
    relabel(other, lambda split, patient: patient not in labelled and (blind or split != "validation"))
    assert other.fit(path) == 0
    ours, theirs = trained.state(path)["weights"], other.state(path)["weights"]
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    assert curves(trained, path) == curves(other, path)
    assert trained.state(path)["data"]["b"] != other.state(path)["data"]["b"]  # they were changed


def test_a_label_that_is_not_hidden_changes_the_model(trained, tmp_path):
    path = add(trained, VIT_CELL, "mean_teacher")
    other = trained.copy(tmp_path / "other")
    assert trained.fit(path) == 0
    relabel(other, lambda split, patient: patient in record(trained, path)["labelled"])
    assert other.fit(path) == 0
    assert trained.bytes(path)["last.ckpt"] != other.bytes(path)["last.ckpt"]


# ---- the same bits -----------------------------------------------------------------------------------------

# What an adaptation has beside the model: a teacher, a copy, counts of pseudo-labels, the source model.
STATEFUL = {"mean_teacher": UNET, "self_training_late": UNET, "self_training_guard": VIT_CELL}
KILLED = ["mid-epoch, after a save", "before validation, saved", "after validation, before its save"]


@pytest.fixture(scope="module")
def undisturbed(sources, tmp_path_factory):
    """Each stateful adaptation, without any fault."""
    project = sources.copy(tmp_path_factory.mktemp("adapted") / "results")
    for name, cell in STATEFUL.items():
        assert project.fork(["adapt", add(project, cell, name)]) == 0, project.log()
    return project


@pytest.mark.parametrize(
    ("name", "moment"),
    [("mean_teacher", moment) for moment in KILLED]
    + [("self_training_late", KILLED[0]), ("self_training_guard", KILLED[2])],
)
def test_killed_and_resumed(trained, undisturbed, name, moment):
    path = add(trained, STATEFUL[name], name)
    fault, every_step = MOMENTS[moment]
    trained.killed(path, fault=fault, save_every=0 if every_step else 60)
    assert trained.fork(["adapt", path]) == 0, trained.log()
    assert_finished_alike(trained, undisturbed, path)


@pytest.mark.parametrize("workers", [0, 1, 4])
def test_worker_counts(trained, undisturbed, workers):
    path = add(trained, UNET, "mean_teacher")
    assert trained.fork(["adapt", path, "--workers", str(workers)]) == 0, trained.log()
    assert trained.bytes(path) == undisturbed.bytes(path)


def test_two_mean_teachers_cannot_share_a_pass():
    """What each draws depends on its own pseudo-labels."""
    cell = SimpleNamespace(objective=SimpleNamespace(estimates=True))
    both = SimpleNamespace(
        cells=[cell, cell], settings={"cell": "a/…/b"}, positions=SimpleNamespace(how="rare_class")
    )
    with pytest.raises(SegShiftError, match="a/…/b: what it draws depends on it alone: train it apart"):
        Training._estimate(both)


# ---- what is recorded --------------------------------------------------------------------------------------


def test_labelled_patients_are_drawn_by_the_seed_nested_and_recorded(trained):
    found = {}
    for number in (1, 3):
        path = trained.add(
            f"{VIT_CELL}/finetune/b",
            training={"epochs": 1},
            adaptation={"module": "finetune", "labelled": number},
        )
        assert trained.fit(path) == 0
        made = record(trained, path)
        found[number] = made["labelled"]
        assert made["budget"] == f"{number} + 2 validation"  # as many as the manifest has
    assert set(found[1]) < set(found[3]) < {f"b:train{number}" for number in range(4)}
    assert len(found[3]) == 3


def test_budgets(trained):
    expected = {
        "entropy_min": "none",
        "entropy_min_original": "none, transductive",
        "self_training_original": "4 (of each 2 slices) + 2 validation",
    }
    for name, budget in expected.items():
        path = add(trained, VIT_CELL, name, epochs=1)
        assert trained.fit(path) == 0
        assert record(trained, path)["budget"] == budget
    assert "budget" not in record(trained, VIT_CELL)


def test_only_the_first_slices_of_each_volume_are_labelled(datasets):
    prepared = Prepared(datasets.results.data("b"))
    patients = [volume.patient for volume in prepared.volumes("train")]
    slices = TrainingSlices(prepared, patients, patients, {}, 0, ("train",), 2)
    assert slices.labelled.tolist() == [z < 2 for count in (3, 2, 4, 3) for z in range(count)]
    true = np.concatenate(prepared.counts("train"))
    assert (slices.counts == true * slices.labelled[:, None]).all()
    assert [not slices[Draw(0, 0, index)][1].any() for index in (2, 7, 8)] == [True] * 3
    assert slices[Draw(0, 0, 1)][1].any()


def test_curves(undisturbed):
    """Entropy, predicted classes, kept pseudo-labels and their accuracy, against the last weights at work."""
    path = f"{VIT_CELL}/self_training_guard/b"
    step, last = [one for one in curves(undisturbed, path) if "validation/kept" in one[1]][-1]
    assert step == 17
    results, folder = undisturbed.results, undisturbed.folder(path)
    checkpoints = inference.load(folder, read_settings(folder), results, torch.device("cpu"))
    (model,) = (one.model for one in checkpoints if one.name == "last")
    chances, truth = [], []
    for chunk in VolumeChunks(Prepared(results.data("b")), "validation"):
        with torch.no_grad():
            chances.append(
                model.predict(model(chunk.images)).double().softmax(1).movedim(1, -1).reshape(-1, 3)
            )
        truth.append(chunk.labels.reshape(-1))
    chances, truth = torch.cat(chances).numpy(), torch.cat(truth).numpy()
    predicted, kept = chances.argmax(1), chances.max(1) >= 0.5
    expected = {
        "entropy": -(chances * np.log(chances)).sum(1).mean(),
        "collapsed": 0,
        "kept": kept.mean(),
        "pseudo_accuracy": (predicted == truth)[kept].mean(),
    }
    for number, name in enumerate(("background", "organ", "lesion")):
        mine = predicted == number
        expected[f"predicted/{name}"] = mine.mean()
        if mine.any():
            expected[f"kept/{name}"] = kept[mine].mean()
        if (kept & mine).any():
            expected[f"pseudo_accuracy/{name}"] = (truth == number)[kept & mine].mean()
    found = {
        key.removeprefix("validation/"): value for key, value in last.items() if key.startswith("validation/")
    }
    found = {key: value for key, value in found.items() if not key.startswith(("dice", "loss"))}
    assert found == {key: pytest.approx(value, abs=1e-3) for key, value in expected.items()}
    assert 0 < expected["kept"] < 1
    other = dict(curves(undisturbed, f"{UNET}/self_training_late/b"))[17]
    assert 0 <= other["epoch/kept"] <= 1


# ---- collapse and guard ------------------------------------------------------------------------------------


def test_entropy_minimization_collapses_and_says_so(trained, capsys):
    """Steps that are far too large make one class of everything; without the guard that is what one gets."""
    path = add(trained, UNET, "entropy_min", learning_rate=1.0)
    assert trained.fit(path) == 0
    assert record(trained, path)["collapsed"]
    assert "collapsed at epoch" in capsys.readouterr().out
    assert 1.0 in [values.get("validation/collapsed") for _, values in curves(trained, path)]


@pytest.mark.parametrize("fault", [None, Fault(Cell, "end_epoch", 1, after=True)], ids=["whole", "killed"])
def test_the_guard_keeps_the_source_model_where_it_collapses(trained, fault):
    path = add(trained, UNET, "entropy_min_guard", learning_rate=1.0)
    if fault:
        trained.killed(path, fault=fault, save_every=0)
    assert trained.fork(["adapt", path]) == 0, trained.log()
    made = record(trained, path)
    ours, source = trained.state(path)["weights"], trained.state(UNET)["weights"]
    assert all(torch.equal(ours[name], source[name]) for name in source)
    assert made["guard"] == f"collapsed at epoch {made['collapsed'][0]}, the source model is kept"
    assert made["epochs"] == made["collapsed"][0]
    assert (made["best"]["epoch"], made["model"]) == (0, record(trained, UNET)["model"])
    assert sorted(file.name for file in trained.folder(path).glob("*.ckpt")) == ["model.ckpt"]


def test_the_guard_keeps_the_source_model_where_no_epoch_is_better(trained, monkeypatch):
    """Here every epoch is worse on the validation split; the last weights are there all the same."""
    monkeypatch.setattr(Watch, "collapsed", property(lambda self: False))
    path = add(trained, UNET, "finetune_guard", learning_rate=3.0)
    assert trained.fit(path) == 0
    made = record(trained, path)
    ours, source = trained.state(path)["weights"], trained.state(UNET)["weights"]
    assert all(torch.equal(ours[name], source[name]) for name in source)
    assert (made["best"]["epoch"], made["guard"], made["epochs"]) == (0, "", 3)
    dices = [values["validation/dice"] for _, values in curves(trained, path) if "validation/dice" in values]
    assert len(dices) == 3
    assert max(dices) <= made["best"]["dice"]
    last = torch.load(trained.folder(path) / "last.ckpt", weights_only=True)
    assert not all(torch.equal(last["weights"][name], source[name]) for name in source)


def test_the_guard_changes_nothing_that_goes_well(specialist, monkeypatch):
    """An epoch that beats the source model is chosen with and without it."""
    monkeypatch.setattr(
        Watch, "collapsed", property(lambda self: False)
    )  # its first epoch does, and recovers
    found = []
    for guard in (False, True):
        entry = {"module": "finetune", "labelled": 4, "guard": guard}
        path = specialist.add(f"{UNET}/finetune/b", training=LONG, adaptation=entry)
        assert specialist.fit(path) == 0
        found.append(specialist.state(path))
    assert found[0]["epoch"] == found[1]["epoch"] > 0
    assert all(torch.equal(*(one["weights"][name] for one in found)) for name in found[0]["weights"])


def test_a_strong_view_and_cached_features_exclude_each_other(trained):
    path = add(trained, VIT_CELL, "mean_teacher", augment={}, cache_features="float32")
    with pytest.raises(SegShiftError, match=r"strong view.*say cache_features: none, or student: weak"):
        trained.fit(path)
    weak = {"module": "mean_teacher", "labelled": 1, "student": "weak"}
    path = trained.add(path, training=RARE | {"augment": {}, "cache_features": "float32"}, adaptation=weak)
    assert trained.fit(path) == 0


def test_rare_classes_are_counted_in_labels_and_pseudo_labels_alone(trained, monkeypatch):
    """Counts of the labelled patient are true, others' are of the teacher's kept predictions."""
    seen = {}
    original = Training._estimate

    def spy(self):
        original(self)
        seen.setdefault(self.done, (self.train_slices.counts.copy(), self.train_slices.labelled.copy()))

    monkeypatch.setattr(Training, "_estimate", spy)
    # Of three classes: a teacher of a few steps is sure of little, and is to keep predictions all the same.
    entry = {"module": "mean_teacher", "labelled": 3, "threshold": 0.35, "decay": 0.9}
    path = trained.add(f"{VIT_CELL}/mean_teacher/b", training=RARE, adaptation=entry)
    assert trained.fit(path) == 0
    assert list(seen) == [0, 6, 12]
    counts, labelled = seen[0]
    true = np.concatenate(Prepared(trained.results.data("b")).counts("train"))
    assert (counts[labelled] == true[labelled]).all()
    assert (counts[~labelled].sum(1) <= 32 * 32).all()
    assert (counts[~labelled] != true[~labelled]).any()
    later, _ = seen[12]
    assert (later[~labelled] != counts[~labelled]).any()  # the teacher learned


# ---- what it is for -------------------------------------------------------------------------------------


def test_finetune_and_self_training_win_over_the_unadapted_model_on_a_strong_shift(specialist, capsys):
    """The target's contrast is inverted. Three of its four training patients are labelled.

    The least gain of seeds 0 to 5 was 20 Dice.
    """

    def dice(path):
        evaluate.run(path, ["b"], str(specialist.root), device="cpu")
        return scores.dice(scores.read(specialist.folder(path) / "scores" / "b.csv"), "b", "test")

    before, after = dice(UNET), {}
    for name, entry in {
        "finetune": {"module": "finetune", "labelled": 3},
        "self_training": {"module": "self_training", "labelled": 3, "threshold": 0.9},
    }.items():
        path = specialist.add(f"{UNET}/{name}/b", training=LONG, adaptation=entry)
        assert specialist.fit(path) == 0
        after[name] = dice(path)
    assert all(value > before + 10 for value in after.values()), (before, after)
    assert "labelled patients of b: 3 + 2 validation" in capsys.readouterr().out
