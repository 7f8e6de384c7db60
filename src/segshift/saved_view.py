"""The saved views of the MLflow page: which runs, which columns, which order.

MLflow keeps a shared view in an experiment's tag; its content is the page's own business and was read off
version 3.17. A page that does not know it any more shows its default columns.
"""

import base64
import json
import zlib
from collections.abc import Iterable
from typing import Any

HOST, PORT = "127.0.0.1", 5000  # where `segshift ui` shows a database, unless another port is asked for
KEY = "segshift"  # of the view that opens first; the others' keys begin with it
TAG = "mlflow.sharedViewState."
CURRENT = "tags.`segshift.superseded` = 'false'"
OURS = f"{CURRENT} and tags.`segshift.run` != 'published'"  # imported runs carry their origin there
AXES = ("anatomy", "source", "target", "backbone", "tuning", "head", "adapt", "seed")
NAME = "attributes.`Run Name`"
WIDE = {"tags.`segshift.error`": 420, "tags.`segshift.superseded`": 150, "tags.`segshift.code`": 150}
TIMES = ("attributes.`Created`", "attributes.`Duration`")


def states(cell: str, grouped: Iterable[str] = ()) -> dict[str, str]:
    """The views, as values of tags, by key; the first is the one that opens.

    Args:
        cell: path of the model that "One cell, all attempts" shows, until its filter is edited.
        grouped: axes by which "Ranking" groups runs, so that it shows means over seeds.
    """
    means = _columns("metrics", ["ds", "dg", "ov"])
    axes, dice = _columns("tags", AXES), "tags.`dice`"
    adaptation = _columns("tags", ["adapt", "target", "segshift.labelled", "segshift.collapsed"])
    attempts = _columns("tags", ["segshift.superseded", "dice", "segshift.code"])
    views = {
        "": _page("Ranking", OURS, [dice, *means, *axes], "metrics.`ov`", grouped),
        "attempts": _page(
            "One cell, all attempts",
            f"tags.`segshift.cell` = '{cell}'",
            [*TIMES, *attempts],
            "attributes.start_time",
        ),
        "failed": _page(
            "Failed",
            f"attributes.status = 'FAILED' and {CURRENT}",
            [*TIMES, *_columns("tags", ["segshift.error"]), *axes],
            "attributes.start_time",
        ),
        "adaptation": _page(
            "Adaptation",
            f"{CURRENT} and tags.adapt != 'none'",
            [dice, *_columns("metrics", ["dg"]), *dict.fromkeys([*adaptation, *axes])],
            "metrics.`dg`",
        ),
        "published": _page(
            "Published beside ours",
            CURRENT,
            [*_columns("tags", ["origin", "dice"]), *means, *axes],
            "tags.`segshift.cell`",
            rising=True,
        ),
    }
    return {f"{KEY}_{name}" if name else KEY: view for name, view in views.items()}


def _columns(kind: str, names: Iterable[str]) -> list[str]:
    return [f"{kind}.`{name}`" for name in names]


def _page(
    name: str, where: str, columns: list[str], by: str, group: Iterable[str] = (), rising: bool = False
) -> str:
    """A view as the value of its tag."""
    keys = [{"mode": "tag", "groupByData": axis} for axis in group]
    page: dict[str, Any] = {
        "searchFilter": where,
        "orderByKey": by,
        "orderByAsc": rising,
        "selectedColumns": columns,
        "columnOrder": list(dict.fromkeys([NAME, *TIMES, *columns])),
        "columnWidths": {NAME: 320 if keys else 190} | dict.fromkeys(columns, 105) | WIDE,
        "runsHiddenMode": "FIRST_20_RUNS",
        "groupBy": {"aggregateFunction": "average", "groupByKeys": keys} if keys else None,
        "useGroupedValuesInCharts": True,
        "hideEmptyCharts": True,
    }
    packed = base64.b64encode(zlib.compress(json.dumps(page).encode(), 9)).decode()
    return json.dumps({"name": name, "createdAt": 0, "updatedAt": 0, "state": f"deflate;{packed}"})


def link(server: str, experiment: str, key: str = KEY) -> str:
    """The address of a view on a server; without ``workflowType`` MLflow opens on an empty page."""
    return f"{server}/#/experiments/{experiment}/runs?viewStateShareKey={key}&workflowType=machine_learning"


def titles() -> dict[str, str]:
    """The views' names by key."""
    return {key: json.loads(view)["name"] for key, view in states("").items()}
