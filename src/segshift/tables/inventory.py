"""The table of datasets (thesis, Table 4.1), counted from what was prepared."""

import json
from pathlib import Path
from typing import Any

from segshift.entries import Config
from segshift.errors import SegShiftError
from segshift.paths import Results
from segshift.table_entries import Counts
from segshift.tables.table import Cell, Column, Row, Table

TITLES = {
    "anatomy": "Anatomy",
    "dataset_id": "Dataset",
    "dataset": "Dataset",
    "modality": "Modality",
    "format": "Format",
    "n_train": "Train",
    "n_val": "Validation",
    "n_test": "Test",
    "n_labels": "Labels",
    "used_in_medsam_training": "In pretraining",
}
COUNTED = {"n_train": "train", "n_val": "validation", "n_test": "test", "n_labels": "classes"}
LEGEND = "Volumes of each split, counted from the prepared data; labels include the background."


def build(config: Config, name: str, results: Results) -> Table:
    """The table of datasets that an entry of ``tables.yaml`` describes.

    A dataset that is not prepared yet has dashes and a footnote.

    Raises:
        SegShiftError: a dataset was prepared and has other counts than the entry expects.
    """
    entry = config.tables[name]
    columns = tuple(
        Column(
            key,
            TITLES[key],
            "whole" if key.startswith("n_") else "text",
            "Volumes" if key in ("n_train", "n_val", "n_test") else "",
            key != "dataset",
        )
        for key in entry.columns
    )
    rows = []
    for dataset, expected in entry.expected.items():
        counted = _counted(results.data(dataset) / "manifest.json", dataset)
        if counted:
            _compare(f"table {name}: {dataset}", counted, expected)
        cells = _cells(config, dataset, entry.pretraining) | counted
        note = {} if counted else dict.fromkeys(COUNTED, ("Not prepared yet, so not counted.",))
        rows.append(Row(tuple(cells.get(column.key) for column in columns), note))
    number = name if any(character.isdigit() for character in name) else ""
    remarks = tuple(filter(None, [entry.note]))
    partial = any(row.notes for row in rows)
    return Table(f"table_{name}", entry.title, columns, tuple(rows), remarks, partial, number, LEGEND)


def _cells(config: Config, dataset: str, pretraining: str) -> dict[str, Cell]:
    entry, seen = config.datasets[dataset], config.weights[pretraining].pretrained_on
    known = "unknown" if seen == "unknown" else str(dataset in seen).lower()
    return {
        "anatomy": entry.anatomy,
        "dataset_id": dataset,
        "dataset": config.labels.get("dataset", {}).get(dataset, dataset),
        "modality": entry.modality,
        "format": entry.module,
        "used_in_medsam_training": known,
    }


def _counted(file: Path, dataset: str) -> dict[str, Cell]:
    try:
        manifest: dict[str, Any] = json.loads(file.read_text())
        splits = {
            split: len(manifest["splits"][split]["volumes"]) for split in ("train", "validation", "test")
        }
        classes = len(manifest["classes"])
    except FileNotFoundError:
        return {}
    except (ValueError, KeyError, TypeError) as error:
        raise SegShiftError(f"{file} is damaged ({error!r}); run: segshift prepare {dataset}") from None
    return {key: (splits | {"classes": classes})[name] for key, name in COUNTED.items()}


def _compare(where: str, counted: dict[str, Cell], expected: Counts) -> None:
    for key, name in COUNTED.items():
        if counted[key] != (other := getattr(expected, name)):
            what = "classes" if name == "classes" else f"{name} volumes"
            raise SegShiftError(f"{where} has {counted[key]} {what}, but tables.yaml expects {other}")
