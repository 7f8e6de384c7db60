import json
from pathlib import Path

import pytest

from segshift import config as configuration
from segshift.errors import SegShiftError
from segshift.paths import Results
from segshift.tables import inventory

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def config():
    return configuration.read(ROOT / "config")


def prepare(results, dataset, train, validation, test, classes):
    counts = {"train": train, "validation": validation, "test": test}
    manifest = {
        "classes": [str(n) for n in range(classes)],
        "splits": {
            split: {"volumes": [{"id": str(n)} for n in range(count)]} for split, count in counts.items()
        },
    }
    results.data(dataset).mkdir(parents=True)
    (results.data(dataset) / "manifest.json").write_text(json.dumps(manifest))


def rows(table):
    keys = [column.key for column in table.columns]
    return {row.cells[1]: dict(zip(keys, row.cells, strict=True)) for row in table.rows}


def test_what_is_prepared_is_counted_and_the_rest_is_a_dash(config, tmp_path):
    results = Results(tmp_path)
    prepare(results, "nci", 10, 5, 15, 3)
    table = inventory.build(config, "4.1", results)
    header = (ROOT / "tests" / "thesis" / "tables" / "table_4.1.csv").read_text().splitlines()[0]
    assert ",".join(column.key for column in table.columns) == header
    found = rows(table)
    assert list(found) == [
        "hcp1",
        "hcp2",
        "abide_c",
        "abide_s",
        "nci",
        "usz",
        "verse",
        "mrsegv",
        "brats_t1",
        "brats_flair",
    ]
    nci = {"n_train": 10, "n_val": 5, "n_test": 15, "n_labels": 3, "used_in_medsam_training": "true"}
    assert found["nci"].items() >= nci.items()
    assert found["usz"]["n_train"] is None
    assert found["usz"]["used_in_medsam_training"] == "false"
    assert table.partial
    assert table.footnotes == ["Not prepared yet, so not counted."]


@pytest.mark.parametrize(
    ("counts", "sentence"),
    [
        ((9, 5, 15, 3), "nci has 9 train volumes, but tables.yaml expects 10"),
        ((10, 4, 15, 3), "nci has 4 validation volumes, but tables.yaml expects 5"),
        ((10, 5, 16, 3), "nci has 16 test volumes, but tables.yaml expects 15"),
        ((10, 5, 15, 2), "nci has 2 classes, but tables.yaml expects 3"),
    ],
)
def test_another_count_is_an_error(config, tmp_path, counts, sentence):
    prepare(Results(tmp_path), "nci", *counts)
    with pytest.raises(SegShiftError, match=f"table 4.1: {sentence}"):
        inventory.build(config, "4.1", Results(tmp_path))


def test_a_damaged_manifest_is_named(config, tmp_path):
    prepare(Results(tmp_path), "nci", 10, 5, 15, 3)
    (tmp_path / "data" / "nci" / "manifest.json").write_text("{")
    with pytest.raises(SegShiftError, match=r"nci/manifest\.json is damaged .* run: segshift prepare nci"):
        inventory.build(config, "4.1", Results(tmp_path))
