"""docs/training.md names every training setting with its default, and every transform with its keys."""

import json
import re
from pathlib import Path

import pytest

from segshift import modules
from segshift.entries import Training

PAGE = (Path(__file__).parents[1] / "docs" / "training.md").read_text()
ROWS = {row[0]: row for row in re.findall(r"^\| `(\w+)` \| (.*?) \| (.*?) \| (.*?) \| (.*?) \|$", PAGE, re.M)}


def shown(value):
    return value if isinstance(value, str) else json.dumps(value)


@pytest.mark.parametrize("name", Training.model_fields)
def test_every_setting_with_its_default(name):
    field = Training.model_fields[name]
    default = "–" if field.is_required() else f"`{shown(field.get_default())}`"
    assert ROWS[name][2] == default


def test_no_setting_that_there_is_not():
    assert set(ROWS) == set(Training.model_fields)


def test_every_transform_with_its_keys():
    for name, keys in modules.transforms().items():
        row = re.search(rf"^\| `{name}` \| (.*) \|$", PAGE, re.M)[1]
        assert [key for key in keys if f"`{key}" not in row] == []
