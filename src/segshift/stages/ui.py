"""``segshift ui``: MLflow's page on what was tracked."""

import json
import os
import socket
import sys
from pathlib import Path

from segshift import config as configuration
from segshift import saved_view, tracking
from segshift.errors import SegShiftError
from segshift.paths import Results
from segshift.saved_view import HOST, PORT


def run(config_folder: str | Path, results: Results, port: int = PORT) -> None:
    """Print the address and become the server; with a tracking server configured, only print.

    Args:
        config_folder: says whether a tracking server is configured.
        results: whose database to show.
        port: of this machine.

    Raises:
        SegShiftError: nothing is tracked yet, or the port is taken.
    """
    uri = tracking.uri(results, configuration.read(config_folder).project.tracking.uri)
    database = tracking.database(uri)
    if database is None:
        print("\n".join(_addresses(results, uri, tracking.shown(uri))), flush=True)
        return
    if not database.exists():
        raise SegShiftError(f"nothing is tracked in {database} yet: run segshift track first")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            raise SegShiftError(f"port {port} is taken: choose another with --port") from None
    for line in _addresses(results, uri, f"http://{HOST}:{port}"):
        print(line)
    print("in some 10 seconds; end it with Ctrl-C", flush=True)
    os.execvpe(sys.executable, command(uri, database, port), environment())


def command(uri: str, database: Path, port: int) -> list[str]:
    """One process instead of fifteen: a fifth of the memory."""
    return [
        *(sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(port), "--workers", "1"),
        *("--backend-store-uri", uri, "--artifacts-destination", str(database.parent / "artifacts")),
        *("--uvicorn-opts", "--log-level warning --no-access-log"),
    ]


def environment() -> dict[str, str]:
    """The server needs no jobs, and tells nobody that it runs."""
    ours = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    return {key: value for key, value in os.environ.items() if key != "MLFLOW_RUN_ID"} | ours


def _addresses(results: Results, uri: str, server: str) -> list[str]:
    """The saved views, the first without its name, if something was tracked; else the server's front page."""
    file = results.tracking / "cursors.json"
    known = json.loads(file.read_text()) if file.exists() else {}
    experiment = known.get(tracking.key(results, uri), {}).get("experiment")
    if not experiment:
        return [server]
    first, *others = saved_view.titles()
    named = [f"  {saved_view.titles()[key]}: {saved_view.link(server, experiment, key)}" for key in others]
    return [saved_view.link(server, experiment, first), *named]
