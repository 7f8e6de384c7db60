"""A model that was made again: MLflow keeps the old run, marked, and no table mixes the two."""

import pytest

from segshift.cli import main
from segshift.errors import SegShiftError
from segshift.stages import tabulate, track

ONE = "one/unet/full/own/0"


def table(project):
    """DS, DG and OV of the only row."""
    made = tabulate.run(project.config, project.results, "shift")
    return [made.column(name)[0].value for name in ("ds", "dg", "ov")]


def test_the_old_run_is_kept_marked_and_in_no_table(project):
    project.complete()
    track.run(project.config, project.results)
    assert table(project) == [60.0, (30 + 1 / 3) / 2, (50 + 30 + 70 + 1 / 3) / 4]
    words = ["rerun", ONE, "--results", str(project.results.root), "--config", str(project.config)]
    assert main(words) == 0
    with pytest.raises(SegShiftError, match=ONE):  # forgotten: not the old numbers, though MLflow has them
        table(project)
    project.journal(ONE, run="second")
    project.record(ONE, run="second")
    project.scores(ONE, one=[(10.0, None), (20.0, 20.0)], two=[(30.0, 30.0)])
    track.run(project.config, project.results)
    assert table(project) == [(15 + 70) / 2, (30 + 1 / 3) / 2, (15 + 30 + 70 + 1 / 3) / 4]
    kept = project.sql(
        "select s.value, m.value from tags c join tags s on s.run_uuid = c.run_uuid "
        "join latest_metrics m on m.run_uuid = c.run_uuid where c.key = 'segshift.cell' "
        f"and c.value = '{ONE}' and s.key = 'segshift.superseded' and m.key = 'test/one/dice' "
        "order by s.value"
    )
    assert kept == [("false", 15.0), ("true", 50.0)]
