"""The saved view of the MLflow page: which columns, which order, which runs.

MLflow keeps a shared view in an experiment's tag; its content is the page's own business and was read off
version 3.17. A page that does not know it any more shows its default columns.
"""

import base64
import json
import zlib

HOST, PORT = "127.0.0.1", 5000  # where `segshift ui` shows a database, unless another port is asked for
KEY = "segshift"
TAG = f"mlflow.sharedViewState.{KEY}"


def state(seeds: int) -> str:
    """The tag's value: axes and headline scores as columns, best first, superseded runs left out.

    Args:
        seeds: how many the grid has; where there are several, runs that differ in nothing else are grouped.
    """
    axes = ["anatomy", "source", "target", "backbone", "tuning", "head", "adapt", "seed"]
    columns = [
        "tags.`dice`",
        *(f"metrics.`{name}`" for name in ("ds", "dg", "ov")),
        *(f"tags.`{a}`" for a in axes),
    ]
    keys = [{"mode": "tag", "groupByData": axis} for axis in axes if axis not in ("anatomy", "seed")]
    group = {"aggregateFunction": "average", "groupByKeys": keys} if seeds > 1 else None
    page = {
        "searchFilter": "tags.`segshift.superseded` = 'false'",
        "orderByKey": "metrics.`ov`",
        "orderByAsc": False,
        "selectedColumns": columns,
        "columnOrder": [],
        "columnWidths": {},
        "runsHiddenMode": "FIRST_20_RUNS",
        "groupBy": group,
        "useGroupedValuesInCharts": True,
        "hideEmptyCharts": True,
    }
    packed = base64.b64encode(zlib.compress(json.dumps(page).encode(), 9)).decode()
    return json.dumps({"name": "SegShift", "createdAt": 0, "updatedAt": 0, "state": f"deflate;{packed}"})


def link(server: str, experiment: str) -> str:
    """The address of the view on a server; without ``workflowType`` MLflow opens on an empty page."""
    return f"{server}/#/experiments/{experiment}/runs?viewStateShareKey={KEY}&workflowType=machine_learning"
