"""docs/data.md followed literally, with miniature files: the commands of a section, one after the other."""

import re
import shlex
import shutil
from pathlib import Path

import nibabel
import numpy as np
import yaml

from segshift import scores
from segshift.cli import main
from segshift.prepared import Prepared

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "data.md").read_text()


def section(title: str) -> str:
    """From a heading to the next one of its rank or above."""
    found = re.search(rf"^(#+) {re.escape(title)}$\n(.*?)(?=^#{{1,2}} |\Z)", TEXT, re.M | re.S)
    return found[2]


def follow(text: str) -> list[str]:
    """Run what stands in blocks without a language, and add YAML to config/experiments.yaml as it says."""
    done = []
    for language, block in re.findall(r"^```(\w*)\n(.*?)^```", text, re.M | re.S):
        if language == "yaml":
            with Path("config/experiments.yaml").open("a") as file:
                file.write(block)
        elif not language:
            for line in block.splitlines():
                assert main(shlex.split(line)[1:]) == 0, line
                done.append(line)
    return done


def save(file: Path, array: np.ndarray) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    nibabel.Nifti1Image(array, np.diag([-0.7, 0.7, 0.7, 1])).to_filename(file)


def test_your_own_data_from_the_folder_to_scores(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / "tests/workflow/micro", "config")
    project = Path("config/project.yaml")
    project.write_text(yaml.safe_dump(yaml.safe_load(project.read_text()) | {"seeds": [42], "raw": "data"}))
    for number in range(1, 5):
        image = np.random.default_rng(number).normal(100, 10, (24, 20, 4)).astype(np.float32)
        label = np.zeros(image.shape, np.uint8)
        label[4:12, 5:15], label[12:20, 5:15] = 1, 2
        save(Path(f"data/knee/p{number:02d}_T1.nii.gz"), image + 80 * label)
        save(Path(f"data/knee/p{number:02d}_seg.nii.gz"), label)
    done = follow(section("Your own data"))
    assert [line.split()[1] for line in done] == [
        "add-dataset", "add-dataset", "look", "settings", "prepare", "settings", "train", "evaluate"
    ]  # fmt: skip
    said = capsys.readouterr().out
    for text in ("4 volumes of 4 patients", "2 epochs", "knee: train 2 of 2 patients, validation 1 of 1"):
        assert text in said
    rows = scores.read(Path("results/runs/knee/unet/full/own/42/scores.csv"))
    assert {row.class_ for row in rows} == {"all", "femur", "tibia"}


def test_a_public_form_from_its_files_to_prepared_data(tmp_path, monkeypatch, capsys):
    """Two contrasts of the same 46 people: one is left over, and nobody is in two splits."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / "config", "config")
    for name in ("experiments", "tables"):  # the thesis's 1,051 settings are another test's matter
        Path(f"config/{name}.yaml").write_text("")
    random = np.random.default_rng(0)
    for person in range(100300, 100346):
        label = random.choice([2, 1005, 11], (6, 7, 2)).astype(np.int16)
        folder = Path(f"data/public/hcp/{person}/T1w")
        save(folder / "aparc+aseg.nii.gz", label)
        save(folder / "brainmask_fs.nii.gz", np.ones(label.shape, np.uint8))
        for contrast in ("T1w", "T2w"):
            save(folder / f"{contrast}_acpc_dc_restore.nii.gz", random.random(label.shape, np.float32))
    done = follow(section("The ten datasets of the thesis").split("### ")[0])
    assert [line.split()[1] for line in done] == ["split", "look", "settings", "prepare"]
    assert (
        "hcp2_public: train 20 of 20 patients, validation 5 of 5 patients, test 20 of 20"
        in capsys.readouterr().out
    )
    people = {}
    for name in ("hcp1_public", "hcp2_public"):
        data = Prepared(Path("results/data") / name)
        for split in ("train", "validation", "test"):
            people[name, split] = {volume.patient for volume in data.volumes(split)}
    for split, number in (("train", 20), ("validation", 5), ("test", 20)):
        assert (
            people["hcp1_public", split] == people["hcp2_public", split]
            and len(people["hcp1_public", split]) == number
        )
    assert len(set.union(*people.values())) == 45
