"""docs/tables.md: its entries are entries, and it names every key and column that there is."""

import re
from pathlib import Path

import pytest
import yaml

from segshift import config as configuration
from segshift import grid as grids
from segshift.paths import Results
from segshift.stages import tabulate_file
from segshift.table_entries import (
    AXES,
    COLUMNS,
    DIFFERENCES,
    STATISTICS,
    DatasetTable,
    ScoreTable,
    SelectionTable,
)
from segshift.tables import runs

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "tables.md").read_text()
ENTRIES = {}
for block in re.findall(r"^```yaml\n(.*?)^```", TEXT, re.M | re.S):
    ENTRIES |= yaml.safe_load(block)


@pytest.fixture(scope="module")
def grid(tmp_path_factory):
    """The project's configuration with the tables of the document."""
    folder = tmp_path_factory.mktemp("documented") / "config"
    folder.mkdir()
    for file in (ROOT / "config").iterdir():
        (folder / file.name).symlink_to(file)
    (folder / "tables.yaml").unlink()
    (folder / "tables.yaml").write_text(yaml.safe_dump(ENTRIES))
    return grids.Grid(configuration.read(folder))


def test_its_entries_are_built(grid):
    found = runs.read(ROOT / "config" / "published" / "runs.csv", grid)
    tables = {name: tabulate_file.build(grid, name, found, Results("nowhere")) for name in ENTRIES}
    assert next(row.axes["head"] for row in tables["mine"].rows) == "hqhsam"
    assert tables["choice"].column("tuning") == ["rein_lora", "rein", "ladder_d", "frozen"]
    assert {cell.value for cell in tables["4.7_beside"].column("ov_difference")} == {0.0}
    assert len(tables["data"].rows) == 1


@pytest.mark.parametrize("entry", [ScoreTable, SelectionTable, DatasetTable])
def test_every_key_is_named(entry):
    assert [key for key in entry.model_fields if f"`{key}`" not in TEXT and f"  {key}:" not in TEXT] == []


def test_every_column_is_named():
    text = re.sub(r"^```.*?^```", "", TEXT, flags=re.M | re.S)
    words = set(re.findall(r"[a-z_]+", " ".join(re.findall(r"`([^`]+)`", text))))
    endings = {name + ending for name in STATISTICS for ending in DIFFERENCES}  # told once, for ds
    own = {f"{axis}_printed" for axis in AXES}
    assert {f"ds{ending}" for ending in DIFFERENCES} <= words
    assert set(COLUMNS) - endings - own - words == set()
