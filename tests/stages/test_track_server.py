"""Tracking where the server refuses, is none, or is away for a while."""

import http.server
import os
import socket
import sys
import threading
import time

import pytest
from tests.stages.conftest import TWO
from tests.stages.test_track import run, wait_until

from segshift.cli import main
from segshift.errors import SegShiftError
from segshift.stages import track


def test_a_server_that_refuses_is_one_sentence(project, monkeypatch, capsys):
    project.complete()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:secret@{address}")
    begun = time.monotonic()
    assert main(["track", "--config", str(project.config), "--results", str(project.results.root)]) == 1
    assert time.monotonic() - begun < 15
    error = capsys.readouterr().err
    told, _, kept = error.partition("; ")
    assert told == f"segshift track: the tracking server http://{address} does not answer"
    assert kept.startswith("not tracked yet, and kept on disk: 3 of 3 models (") and error.count("\n") == 1
    assert "secret" not in error


def test_a_server_that_is_no_mlflow_is_one_sentence(project, monkeypatch):
    project.complete()
    with http.server.HTTPServer(("127.0.0.1", 0), Silent) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{server.server_port}")
        with pytest.raises(SegShiftError, match=f"MLflow at http://127.0.0.1:{server.server_port} refused"):
            run(project)
        server.shutdown()


class Silent(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_error(404)

    do_POST = do_GET

    def log_message(self, *_):
        pass


def test_a_follower_outlives_an_outage(project, monkeypatch, capsys):
    project.complete()
    tries = []

    class Flaky(track.Store):
        def __init__(self, *arguments):
            tries.append(arguments)
            if len(tries) == 1:
                raise track.StoreError("the tracking server x does not answer")
            super().__init__(*arguments)

    monkeypatch.setattr(track, "Store", Flaky)
    reader, writer = os.pipe()
    monkeypatch.setattr(sys, "stdin", os.fdopen(reader))
    threading.Thread(target=lambda: (wait_until(lambda: len(tries) > 0), os.close(writer))).start()
    run(project, follow=True, every=0.1)
    assert "will try again: the tracking server x does not answer" in capsys.readouterr().out
    assert project.latest(TWO)["test/two/dice"] == 70.0
