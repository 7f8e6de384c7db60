"""The only door to MLflow: opens the database or server, and says in one sentence what went wrong there.

Training, evaluation and all that starts often stay away from this module: importing MLflow takes seconds.
"""

import gc
import logging
import os
import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import zip_longest
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from segshift import tracking
from segshift.errors import SegShiftError

# Before the import: MLflow reads these once.
for _name, _value in {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "GIT_PYTHON_REFRESH": "quiet",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # By default it waits 4 minutes for a server that refuses, 20 for one that is silent.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
}.items():
    os.environ.setdefault(_name, _value)
for _name in ("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID"):  # inherited, they would redirect what is logged
    os.environ.pop(_name, None)

import PIL.Image  # noqa: E402
from mlflow import MlflowClient  # noqa: E402
from mlflow.db import upgrade  # noqa: E402
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, Run, RunTag  # noqa: E402
from mlflow.exceptions import MlflowException  # noqa: E402
from mlflow.tracking.multimedia import compress_image_size  # noqa: E402
from mlflow.utils.mlflow_tags import MLFLOW_LOGGED_IMAGES  # noqa: E402

for _name in ("mlflow", "alembic"):
    logging.getLogger(_name).setLevel(logging.WARNING)

METRICS, OTHERS = 800, 100  # of one request: MLflow allows 100 parameters, 100 tags, and 1000 in all
RUNS = 100  # ids of one search
PAGE = 1000  # runs of one page of a search


class StoreError(SegShiftError):
    """MLflow does not answer, or refuses."""


class Gone(StoreError):
    """A run that was tracked is not in MLflow any more."""


class Store:
    """One MLflow experiment. All methods raise StoreError, naming the URI, where MLflow refuses."""

    def __init__(self, uri: str, experiment: str) -> None:
        """Open the store; a SQLite database is made or upgraded first, so hold the tracking lock."""
        self.uri = uri
        with self._answering():
            self.client = self._open()
            found = self.client.get_experiment_by_name(experiment)
            self.experiment = found.experiment_id if found else self._create_experiment(experiment)

    def _open(self) -> MlflowClient:
        file = tracking.database(self.uri)
        if file and not file.exists():
            # Under another name until it is whole: a database of which a kill left half is broken for good.
            part = file.with_name(file.name + ".part")
            part.parent.mkdir(parents=True, exist_ok=True)
            part.unlink(missing_ok=True)
            upgrade.callback(f"sqlite:///{part}")
            part.replace(file)
        client = MlflowClient(self.uri)
        try:
            client.search_experiments(max_results=1)
        except MlflowException as error:
            if not (file and "out-of-date database schema" in str(error)):
                raise
            upgrade.callback(self.uri)
            client = MlflowClient(self.uri)
        return client

    def _create_experiment(self, name: str) -> str:
        # Relative to what serves it, so that a project may be moved; `put` and `segshift ui` know the folder.
        location = "mlflow-artifacts:/" if tracking.database(self.uri) else None
        return self.client.create_experiment(name, artifact_location=location)

    @contextmanager
    def _answering(self) -> Iterator[None]:
        try:
            yield
        except MlflowException as error:
            text = " ".join(str(error).split())
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                raise Gone(f"{tracking.shown(self.uri)}: {text}") from None
            if "failed with exception" in text or "Max retries exceeded" in text:
                raise StoreError(f"the tracking server {tracking.shown(self.uri)} does not answer") from None
            raise StoreError(f"MLflow at {tracking.shown(self.uri)} refused: {text[:500]}") from None

    # ---- reading ---------------------------------------------------------------------------------------

    def find(self, tags: dict[str, str]) -> Run | None:
        """The oldest run with these tags."""
        found = self._search(tags, 1)
        return found[0] if found else None

    def tagged(self, tags: dict[str, str]) -> list[Run]:
        """All runs with these tags, the oldest first."""
        found = page = self._search(tags, PAGE)
        while page.token:
            found += (page := self._search(tags, PAGE, page.token))
        return list(found)

    def _search(self, tags: dict[str, str], limit: int, token: str | None = None) -> Any:
        clauses = " and ".join(f"tags.`{key}` = '{value}'" for key, value in tags.items())
        order = ["attributes.start_time"]
        with self._answering(), _uncollected():
            return self.client.search_runs(
                [self.experiment], clauses, max_results=limit, order_by=order, page_token=token
            )

    def runs(self, ids: Sequence[str]) -> dict[str, Run]:
        """Runs by id; those that are gone, or deleted, are missing."""
        found: dict[str, Run] = {}
        for part in _parts(ids, RUNS):
            clause = f"attributes.run_id IN ({', '.join(repr(run) for run in part)})"
            with self._answering(), _uncollected():
                runs = self.client.search_runs([self.experiment], clause, max_results=RUNS)
            found |= {run.info.run_id: run for run in runs}
        return found

    def last_step(self, run: str, metric: str) -> int:
        """The highest step that a run has of a metric."""
        with self._answering():
            return max(point.step for point in self.client.get_metric_history(run, metric))

    def last_time(self, run: str, metric: str) -> int:
        """The newest time, in ms, that a run has of a metric."""
        with self._answering():
            return max(point.timestamp for point in self.client.get_metric_history(run, metric))

    # ---- writing ---------------------------------------------------------------------------------------

    def create(self, name: str, started: int, tags: dict[str, str]) -> str:
        """Make a run that started at ``started`` (ms), and return its id."""
        with self._answering():
            return self.client.create_run(self.experiment, started, tags, name).info.run_id

    def log(
        self,
        run: str,
        metrics: Sequence[tuple[str, float, int, int]] = (),
        parameters: dict[str, Any] | None = None,
        tags: dict[str, Any] | None = None,
    ) -> None:
        """Send metrics (name, value, time in ms, step), parameters and tags, as many as there are."""
        batches = zip_longest(
            _parts([Metric(*point) for point in metrics], METRICS),
            _parts([Param(key, str(value)) for key, value in (parameters or {}).items()], OTHERS),
            _parts([RunTag(key, str(value)) for key, value in (tags or {}).items()], OTHERS),
            fillvalue=(),
        )
        with self._answering():
            for batch in batches:
                self.client.log_batch(run, *batch)

    def inputs(self, run: str, manifests: dict[str, str], context: str) -> None:
        """Note which prepared datasets (name: sha256) a run read."""
        datasets = [
            DatasetInput(
                Dataset(name, digest[:16], "local", f"data/{name}"),
                [InputTag("mlflow.data.context", context)],
            )
            for name, digest in manifests.items()
        ]
        with self._answering():
            self.client.log_inputs(run, datasets)

    def status(self, run: str, status: str, ended: int | None) -> None:
        """RUNNING, or FINISHED, FAILED or KILLED at ``ended`` (ms)."""
        with self._answering():
            if status == "RUNNING":
                self.client.update_run(run, status)
            else:
                self.client.set_terminated(run, status, ended)

    def image(self, run: str, file: Path, key: str, step: int, time: int) -> None:
        """Store a PNG that MLflow's page shows among the metrics, with a slider over the steps of its key.

        As ``MlflowClient.log_image``, but the names follow from the arguments, so that what is sent twice is
        there once. ``time`` in ms.
        """
        unique = uuid.uuid5(uuid.NAMESPACE_OID, f"{run} {key} {step}")
        name = f"{key.replace('/', '~')}+step+{step}+timestamp+{time}+{unique}"
        with TemporaryDirectory() as folder:
            full, small = Path(folder) / f"{name}.png", Path(folder) / f"{name}+compressed.webp"
            shutil.copyfile(file, full)
            with PIL.Image.open(file) as picture:
                compress_image_size(picture).save(small)
            for one in (full, small):
                self.put(run, one, "images")
        self.log(run, tags={MLFLOW_LOGGED_IMAGES: True})

    def put(self, run: str, file: Path, within: str = "") -> None:
        """Store a file with a run, in its folder ``within``."""
        if database := tracking.database(self.uri):
            folder = database.parent / "artifacts" / run / "artifacts" / within
            folder.mkdir(parents=True, exist_ok=True)
            part = shutil.copyfile(file, folder / f"{file.name}.part")
            part.replace(folder / file.name)
            return
        with self._answering():
            self.client.log_artifact(run, str(file), within or None)

    def tag_experiment(self, key: str, value: str) -> None:
        """Set a tag of the experiment."""
        with self._answering():
            self.client.set_experiment_tag(self.experiment, key, value)


@contextmanager
def _uncollected() -> Iterator[None]:
    """No garbage collection: MLflow makes dozens of objects a run, and to look for garbage among them takes
    as long again."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _parts(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    return (items[start : start + size] for start in range(0, len(items), size))
