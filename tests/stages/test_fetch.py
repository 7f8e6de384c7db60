"""Fetching weights from a folder, a package and a loopback web server, and the ways in which that fails."""

import hashlib
import os
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from segshift.errors import SegShiftError
from segshift.stages import fetch

BODY = bytes(range(256)) * 20_000  # 5 MB, several chunks
DIGEST = hashlib.sha256(BODY).hexdigest()


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/missing.pth":
            self.send_error(404)
            return
        page = self.path == "/page.pth"
        body = b"<html></html>" if page else BODY
        self.send_response(200)
        self.send_header("Content-Type", "text/html" if page else "application/octet-stream")
        if self.path != "/unsized.pth":
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if self.path == "/truncated.pth" else body)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def server():
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as web:
        thread = threading.Thread(target=web.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{web.server_port}"
        web.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def output(tmp_path):
    return tmp_path / "results" / "weights" / "toy.pth"


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "toy.pth").write_bytes(BODY)
    return folder


def left_behind(output):
    return sorted(file.name for file in output.parent.iterdir()) if output.parent.exists() else []


@pytest.mark.parametrize("path", ["good.pth", "unsized.pth"])
def test_a_download_is_placed_and_reported(server, output, capsys, monkeypatch, path):
    monkeypatch.setattr(fetch, "REPORT", 0)
    fetch.run("toy", {"url": f"{server}/{path}", "sha256": DIGEST.upper()}, None, output)
    assert output.read_bytes() == BODY
    assert left_behind(output) == ["toy.pth"]
    printed = capsys.readouterr().out
    assert f"from {server}/{path}" in printed
    assert ("5 of 5 MB" if path == "good.pth" else "5 MB") in printed
    assert "sha256" not in printed


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("missing.pth", "404"),
        ("truncated.pth", f"broke off after {len(BODY) // 2} of {len(BODY)} bytes"),
        ("page.pth", "answers with a web page"),
    ],
)
def test_a_bad_answer_leaves_nothing(server, output, path, sentence):
    with pytest.raises(SegShiftError, match=sentence) as caught:
        fetch.run("toy", {"url": f"{server}/{path}", "sha256": DIGEST}, None, output)
    assert f"weights toy: {server}/{path} " in str(caught.value)
    assert left_behind(output) == []


def test_a_dead_server_is_a_sentence(server, output):
    with pytest.raises(SegShiftError, match="cannot be downloaded"):
        fetch.run("toy", {"url": "http://127.0.0.1:1/toy.pth"}, None, output)
    assert left_behind(output) == []


def test_another_scheme_is_refused(output):
    with pytest.raises(SegShiftError, match="must start with http"):
        fetch.run("toy", {"url": "ftp://127.0.0.1/toy.pth"}, None, output)


@pytest.mark.parametrize("source", ["web", "folder"])
def test_a_wrong_digest_names_both_and_keeps_what_was_there(server, folder, output, source):
    output.parent.mkdir(parents=True)
    output.write_bytes(b"older")
    entry = {"url": f"{server}/good.pth", "file": "toy.pth", "sha256": "0" * 64}
    with pytest.raises(SegShiftError) as caught:
        fetch.run("toy", entry, folder if source == "folder" else None, output)
    culprit = str(folder / "toy.pth") if source == "folder" else f"{server}/good.pth"
    assert all(word in str(caught.value) for word in ("weights toy", DIGEST, "0" * 64, culprit))
    assert output.read_bytes() == b"older"
    assert left_behind(output) == ["toy.pth"]


def test_without_a_digest_the_found_one_is_asked_for(folder, output):
    with pytest.raises(SegShiftError, match=f"no sha256 for it; that of .*toy.pth is {DIGEST}"):
        fetch.run("toy", {"file": "toy.pth", "sha256": None}, folder, output)
    assert not output.exists()


def test_a_download_without_a_digest_is_kept_in_the_users_folder(server, tmp_path, output):
    mine = tmp_path / "mine"
    entry = {"file": "toy.pth", "url": f"{server}/good.pth", "sha256": None}
    with pytest.raises(SegShiftError, match=DIGEST):
        fetch.run("toy", entry, mine, output)
    assert (mine / "toy.pth").read_bytes() == BODY
    assert left_behind(output) == []
    fetch.run("toy", {"file": "toy.pth", "sha256": DIGEST}, mine, output)
    assert output.read_bytes() == BODY


def test_the_users_file_comes_first_and_is_linked(server, folder, output):
    fetch.run("toy", {"file": "toy.pth", "url": f"{server}/missing.pth", "sha256": DIGEST}, folder, output)
    assert os.path.samefile(folder / "toy.pth", output)
    fetch.run("toy", {"file": "toy.pth", "sha256": DIGEST}, folder, output)  # once more, over its own link
    assert left_behind(output) == ["toy.pth"]
    fetch.run("toy", {"file": "toy.pth", "sha256": DIGEST}, output.parent, output)  # in place
    assert output.read_bytes() == BODY


def test_without_hard_links_it_is_copied(folder, output, monkeypatch):
    def refuse(*_):
        raise OSError("cross-device link")

    monkeypatch.setattr(fetch.os, "link", refuse)
    fetch.run("toy", {"file": "toy.pth", "sha256": DIGEST}, folder, output)
    assert output.read_bytes() == BODY
    assert not os.path.samefile(folder / "toy.pth", output)


def test_a_package_file_is_found_without_importing_the_package(tmp_path, output, monkeypatch):
    package = tmp_path / "site" / "toy_weights_package"
    (package / "asset").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    (package / "asset" / "toy.pth").write_bytes(BODY)
    monkeypatch.syspath_prepend(package.parent)
    fetch.run("toy", {"package": "toy_weights_package/asset/toy.pth", "sha256": DIGEST}, None, output)
    assert output.read_bytes() == BODY
    assert "toy_weights_package" not in sys.modules


def test_a_missing_package_falls_through_to_the_web(server, output):
    entry = {"package": "no_such_package/toy.pth", "url": f"{server}/good.pth", "sha256": DIGEST}
    fetch.run("toy", entry, None, output)
    assert output.read_bytes() == BODY


def test_found_nowhere_lists_what_was_tried(folder, output):
    entry = {"file": "other.pth", "package": "no_such_package/toy.pth"}
    with pytest.raises(SegShiftError) as caught:
        fetch.run("toy", entry, folder, output)
    assert str(folder / "other.pth") in str(caught.value)
    assert "no_such_package/toy.pth" in str(caught.value)
    assert left_behind(output) == []
