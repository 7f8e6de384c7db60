import os
import socket
import sys
from pathlib import Path

import pytest

from segshift.errors import SegShiftError
from segshift.stages import track, ui


@pytest.fixture
def executed(monkeypatch):
    """What the process would become."""
    calls = []
    monkeypatch.setattr(os, "execvpe", lambda *call: calls.append(call))
    return calls


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_it_becomes_a_lean_server_and_says_where(project, executed, capsys):
    project.complete()
    track.run(project.config, project.results)
    capsys.readouterr()
    port = free_port()
    ui.run(project.config, project.results, port)
    address = capsys.readouterr().out.splitlines()[0]
    experiment = project.sql("select experiment_id from experiments where name = 'segshift'")[0][0]
    assert address.startswith(
        f"http://127.0.0.1:{port}/#/experiments/{experiment}/runs?viewStateShareKey=segshift"
    )
    assert address.endswith("workflowType=machine_learning")
    ((program, command, environment),) = executed
    assert program == sys.executable
    assert command[command.index("--workers") + 1] == "1"
    database = Path(command[command.index("--backend-store-uri") + 1].removeprefix("sqlite:///"))
    assert database == project.results.tracking / "mlflow.db"
    assert environment["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] == "false"


def test_nothing_tracked_or_a_taken_port_is_a_sentence(project, executed):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(SegShiftError, match="is taken: choose another with --port"):
            ui.run(project.config, project.results, taken.getsockname()[1])
    (project.results.tracking / "mlflow.db").unlink()
    with pytest.raises(SegShiftError, match="run segshift track first"):
        ui.run(project.config, project.results)
    assert not executed


def test_a_configured_server_is_only_named(project, executed, capsys, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@host:5000")
    ui.run(project.config, project.results)
    assert capsys.readouterr().out == "http://host:5000\n"
    assert not executed
