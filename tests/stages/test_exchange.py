"""Scores that leave a site and meet those of another: the same tables, and nothing that names a patient."""

import getpass
import json
import re
import shutil
import socket

import pytest
import yaml

from segshift import exported_scores, scores
from segshift.errors import SegShiftError
from segshift.paths import Results
from segshift.settings import digest
from segshift.stages import cells, export_scores, import_scores, status, tabulate, track

ONE, TWO = "one/unet/full/own/0", "two/unet/full/own/0"
ADAPTED = f"{ONE}/finetune/two"
VOLUMES = {ONE: 5, TWO: 4, ADAPTED: 5}
SALT = "a secret of some sites"


def patient(target, number):
    return f"{target}:Doe_Jane_19{70 + number}"


def site(class_, folder, **cells):
    """A site's project: volumes and patients with telling names; ``cells``: which targets of which cells."""
    made = class_(folder)
    for name, targets in cells.items():
        cell = {"one": ONE, "two": TWO, "adapted": ADAPTED}[name]
        made.journal(cell)
        made.record(
            cell,
            model="m" * 16,
            labelled=[patient("one", 0)],
            host=socket.gethostname(),
            code="c" * 16,
            data={"one": "d" * 64},
            **({"budget": "1 + 2 validation", "collapsed": [], "guard": ""} if cell == ADAPTED else {}),
        )
        rows = [row for target in targets for row in rows_of(cell, target)]
        scores.write(made.folder(cell) / "scores.csv", rows)
        settings = {
            "cell": cell,
            "source": {
                "dataset": "one",
                "plane": "axial",
                "patients": "one",
                "splits": "0123456789abcdef",
                "reader": {"module": "hdf5_stack", "files": {"test": "private_scans.h5"}},
            },
            "training": {"epochs": 3},
        }
        (made.folder(cell) / "settings.yaml").write_text(yaml.safe_dump(settings))
        record = json.loads((made.folder(cell) / "run.json").read_text())
        record["settings"] = digest(settings)  # of the list of ids too: who guesses it could confirm it
        (made.folder(cell) / "run.json").write_text(json.dumps(record))
    return made


def rows_of(cell, target):
    for split in scores.SPLITS:
        for number in range(6):
            one = (target, split, "model", f"scan_of_Jane_{number}", patient(target, number))
            for place, name in enumerate(("gray", "white")):
                seed = len(cell) * 7 + len(target) * 3 + number * 11 + place * 5
                tp, fp, fn = 40 + seed % 23, seed % 7, seed % 5
                dice = 100 * 2 * tp / (2 * tp + fp + fn)
                yield scores.Row(*one, name, tp, fp, fn, dice, dice / 2, None, "m" * 16, "d" * 16)
            yield scores.Row(*one, "all", *[None] * 5, 0.5, "m" * 16, "d" * 16)


@pytest.fixture(scope="module")
def sites(tmp_path_factory, project_class):
    """One site that has everything, and two that have parts, of one cell each other's targets."""
    root = tmp_path_factory.mktemp("sites")
    (root / "salt").write_text(SALT + "\n")
    both = ("one", "two")
    whole = site(project_class, root / "whole", one=both, two=both, adapted=["two"])
    first = site(project_class, root / "first", one=["two"], two=["one"])
    second = site(project_class, root / "second", one=["one"], two=["two"], adapted=["two"])
    for made, name in ((whole, "whole"), (first, "first"), (second, "second")):
        export_scores.run(made.config, made.results, root / "exported" / name, [], root / "salt")
    return root


def tables(root, database, name, config, folders):
    results = Results(root / name)
    results.tracking.mkdir(parents=True)
    shutil.copyfile(database, results.tracking / "mlflow.db")
    import_scores.run(config, results, folders)
    track.run(config, results)
    tabulate.run_all(config, results)
    return {
        file.name: file.read_bytes() for file in results.tables.iterdir() if not file.name.endswith(".html")
    }


def test_a_table_of_two_folders_is_that_of_one_to_the_byte(sites, database, tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    exported, config = sites / "exported", sites / "whole" / "config"
    one = tables(tmp_path, database, "one", config, [exported / "whole"])
    two = tables(tmp_path, database, "two", config, [exported / "second", exported / "first"])
    assert {"shift.csv", "shift.md", "shift.tex", "adapted.csv", "adapted.pairs.csv"} <= one.keys()
    assert one == two
    own = Results(sites / "whole" / "results")
    own.tracking.mkdir(parents=True)
    shutil.copyfile(database, own.tracking / "mlflow.db")
    track.run(config, own)
    tabulate.run_all(config, own)
    assert (own.tables / "shift.md").read_bytes() == one["shift.md"]
    assert (own.tables / "adapted.md").read_bytes() == one["adapted.md"]
    assert b"[" in one["shift.md"]  # with intervals


def test_importing_again_changes_nothing_and_status_knows_them(sites, database, tmp_path, capsys):
    config, exported = sites / "whole" / "config", sites / "exported"
    results = Results(tmp_path / "results")
    import_scores.run(config, results, [exported / "first", exported / "second"])
    assert "3 models with 5 scores, 5 of them in experiments" in capsys.readouterr().out
    before = {file: file.read_bytes() for file in results.root.rglob("*") if file.is_file()}
    import_scores.run(config, results, [exported / "second", exported / "first"])
    assert {file: file.read_bytes() for file in results.root.rglob("*") if file.is_file()} == before
    status.run(config, results, [])
    assert "3 cells, 3 done" in capsys.readouterr().out
    cells.run(config, results, [])
    assert "3 done, 0 missing" in capsys.readouterr().out


def test_a_tool_without_digests_in_two_exports_is_said(sites, tmp_path, capsys):
    cell = "one/nn/external/external/0"
    for name in ("first", "second"):
        folder = shutil.copytree(sites / "exported" / name, tmp_path / name)
        to = shutil.copytree(folder / "cells" / ONE, folder / "cells" / cell)
        (to / "record.json").write_text(json.dumps({"cell": cell, "origin": "external"}))
    folders = [tmp_path / "first", tmp_path / "second"]
    record = {"cell": cell, "origin": "external", "leakage_checked": ["two"]}
    (folders[0] / "cells" / cell / "record.json").write_text(json.dumps(record))
    for order in (folders, folders[::-1]):  # of equal scores, what one site could look for is enough
        results = Results(tmp_path / order[0].name / "results")
        import_scores.run(sites / "whole" / "config", results, order)
        assert f"{cell}: of 2 exports, taken for one model" in capsys.readouterr().out
        assert json.loads((results.run(cell) / "run.json").read_text())["leakage_checked"] == ["two"]
    kept = exported_scores.record(record | {"host": "here", "scored": {"two": "d" * 64}})
    assert kept["leakage_checked"] == ["two"] and "scored" not in kept


FORBIDDEN = re.compile(
    r"Doe|Jane|scan_of|private|\.h5|19[78]\d"  # ids and file names
    r"|(?<![\w.])/[A-Za-z]|\\\\|file://"  # paths
    r"|0123456789abcdef"  # a digest of a list of ids has no salt
)


def test_nothing_that_is_exported_names_anybody_or_anything(sites):
    files = [file for file in (sites / "exported" / "whole").rglob("*") if file.is_file()]
    assert {file.name for file in files} == {"export.json", "scores.csv", "settings.yaml", "record.json"}
    own = [socket.gethostname(), str(sites), SALT]
    records = (sites / "whole" / "results").rglob("run.json")
    whole = [json.loads(file.read_text())["settings"] for file in records]
    assert len(whole) == 3
    own += [getpass.getuser()] if len(getpass.getuser()) > 4 else []
    for file in files:
        text = file.read_text()
        assert not FORBIDDEN.search(text), (file.name, FORBIDDEN.search(text))
        assert not [word for word in own if word in text], file.name
        assert not [word for word in whole if word in text], file.name
    # the scanner finds them in the folder that was exported
    raw = "".join(file.read_text() for file in (sites / "whole" / "results").rglob("*.csv"))
    assert FORBIDDEN.search(raw)
    rows = scores.read(sites / "exported" / "whole" / "cells" / ONE / "scores.csv")
    assert all(re.fullmatch("[0-9a-f]{16}", name) for row in rows for name in (row.patient, row.volume))
    assert [row.volume for row in rows] == [
        row.volume for row in sorted(rows, key=lambda r: (r.target, r.split == "test", r.volume))
    ]


def test_a_patient_has_one_name_for_one_salt_and_another_for_another(sites, tmp_path):
    def patients(folder, cell, target):
        rows = scores.read(folder / "cells" / cell / "scores.csv")
        return {row.patient for row in rows if row.target == target}

    exported = sites / "exported"
    assert patients(exported / "first", TWO, "one") == patients(exported / "second", ONE, "one")
    assert len(patients(exported / "whole", ONE, "one")) == 6
    config, results = sites / "first" / "config", Results(sites / "first" / "results")
    for name in ("a", "b"):  # this folder's own salt, made once
        export_scores.run(config, results, tmp_path / name)
    assert patients(tmp_path / "a", TWO, "one") == patients(tmp_path / "b", TWO, "one")
    assert not patients(tmp_path / "a", TWO, "one") & patients(exported / "first", TWO, "one")
    assert (results.root / ".salt").stat().st_mode & 0o077 == 0
    with pytest.raises(SegShiftError, match="were hashed with another salt than in another export"):
        import_scores.run(config, Results(tmp_path / "results"), [exported / "second", tmp_path / "a"])
    assert not (tmp_path / "results").exists()


def test_bad_input_is_one_sentence(sites, tmp_path):
    config, exported = sites / "whole" / "config", sites / "exported"
    own = Results(sites / "whole" / "results")
    fresh = Results(tmp_path / "results")
    (tmp_path / "short").write_text("abc")
    broken = shutil.copytree(exported / "first", tmp_path / "broken")
    (broken / "export.json").write_text('{"format": 2, "salt": "", "pools": {}}')
    other = shutil.copytree(exported / "first", tmp_path / "other")
    record = other / "cells" / ONE / "record.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"model": "x" * 16}))
    changed = shutil.copytree(exported / "first", tmp_path / "changed")
    file = changed / "cells" / TWO / "scores.csv"
    file.write_text(file.read_text().replace(",gray,4", ",gray,5"))
    pools = shutil.copytree(exported / "first", tmp_path / "pools")
    (pools / "export.json").write_text(
        (pools / "export.json").read_text().replace('"two": "two"', '"two": "one"')
    )
    unknown = shutil.copytree(exported / "first", tmp_path / "unknown")
    (unknown / "export.json").write_text(
        (unknown / "export.json").read_text().replace('"two": "two"', '"four": "two"')
    )
    otherwise = shutil.copytree(exported / "first", tmp_path / "otherwise")
    file = otherwise / "cells" / TWO / "scores.csv"
    file.write_text(file.read_text().replace("d" * 16, "e" * 16))
    outside = shutil.copytree(exported / "first", tmp_path / "outside")
    file = outside / "cells" / TWO / "scores.csv"
    file.write_text(file.read_text().replace("one,test", "../../../escaped,test"))
    empty = shutil.copytree(exported / "first", tmp_path / "empty")
    shutil.rmtree(empty / "cells")
    named = shutil.copytree(exported / "first", tmp_path / "named")
    (named / "cells" / "two").rename(named / "cells" / "x")
    (named / "cells" / "x" / "unet" / "full" / "own" / "0").rename(named / "cells" / "x" / "unet" / "last")
    lost = shutil.copytree(exported / "first", tmp_path / "lost")
    (lost / "cells" / TWO / "settings.yaml").unlink()
    listed = shutil.copytree(exported / "first", tmp_path / "listed")
    (listed / "export.json").write_text('{"format": 1, "salt": "", "pools": []}')
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / ".salt").write_text("")
    for run, sentence in (
        (lambda: import_scores.run(config, fresh, [exported / "second", otherwise]), "on other data of one"),
        (lambda: import_scores.run(config, fresh, [outside]), "has scores of '../../../escaped'"),
        (lambda: import_scores.run(config, fresh, [empty]), "holds no model below"),
        (lambda: import_scores.run(config, fresh, [named]), "x/unet/last is no cell"),
        (lambda: import_scores.run(config, fresh, [lost]), "settings.yaml cannot be read"),
        (lambda: import_scores.run(config, fresh, [listed]), "damaged .*pools are no object"),
        (lambda: export_scores.run(config, Results(tmp_path / "d"), tmp_path / "n"), "has 0 bytes; 16"),
        (
            lambda: import_scores.run(config, own, [exported / "first"]),
            "holds models of its own, such as one/u",
        ),
        (lambda: import_scores.run(config, fresh, [tmp_path]), "holds no export.json"),
        (lambda: import_scores.run(config, fresh, [broken]), "its format is 2"),
        (lambda: import_scores.run(config, fresh, [exported / "second", other]), "is another model there"),
        (
            lambda: import_scores.run(config, Results(tmp_path / "b"), [exported / "whole", changed]),
            "other scores",
        ),
        (lambda: import_scores.run(config, fresh, [pools]), "of two are of the pool one there, of two here"),
        (lambda: import_scores.run(config, fresh, [unknown]), "unknown dataset 'four'"),
        (lambda: export_scores.run(config, own, tmp_path), "is there already"),
        (lambda: export_scores.run(config, own, tmp_path / "n", ["no"]), "unknown experiment 'no'"),
        (lambda: export_scores.run(config, own, tmp_path / "n", [], tmp_path / "short"), "has 3 bytes; 16"),
        (lambda: export_scores.run(config, own, tmp_path / "n", [], tmp_path / "gone"), "cannot be read"),
        (
            lambda: export_scores.run(config, Results(tmp_path / "c"), tmp_path / "n"),
            "none of 3 models has scores",
        ),
    ):
        with pytest.raises(SegShiftError, match=sentence):
            run()
    assert not (tmp_path / "n").exists() and not list(tmp_path.glob(".*.part"))
    assert not (fresh.root / "runs").exists() and not list(tmp_path.rglob("escaped*"))
