"""Fetching weights from a folder, a package and a loopback web server, and the ways in which that fails."""

import hashlib
import json
import os
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest

from segshift import download, grid, records
from segshift.errors import SegShiftError
from segshift.paths import Results
from segshift.stages import fetch

BODY = bytes(range(256)) * 20_000  # 5 MB, several chunks
DIGEST = hashlib.sha256(BODY).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """Paths are behaviours; ``asked`` keeps path and Range of every request."""

    asked: ClassVar[list] = []
    version: ClassVar[str] = '"one"'

    def do_GET(self):
        wanted = self.headers.get("Range")
        self.asked.append((self.path, wanted))
        if self.path == "/missing.pth":
            self.send_error(404)
            return
        if self.path == "/gated.pth":
            self.send_error(403)
            return
        page = self.path == "/page.pth"
        body = b"<html></html>" if page else BODY
        first = 0
        if wanted and self.headers.get("If-Range") == self.version and self.path != "/forgetful.pth":
            first = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if first >= len(body):
                self.send_error(416)
                return
        self.send_response(206 if first else 200)
        if first:
            shift = 1 if self.path == "/askew.pth" else 0
            self.send_header("Content-Range", f"bytes {first + shift}-{len(body) - 1}/{len(body)}")
        self.send_header("Content-Type", "text/html" if page else "application/octet-stream")
        if self.path != "/untagged.pth":
            self.send_header("ETag", self.version)
        if self.path != "/unsized.pth":
            self.send_header("Content-Length", str(len(body) - first))
        self.end_headers()
        broken = (
            self.path in ("/truncated.pth", "/askew.pth", "/forgetful.pth", "/untagged.pth") and not wanted
        )
        self.wfile.write(body[first : len(body) // 2] if broken else body[first:])

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
def results(tmp_path):
    return Results(tmp_path / "results")


@pytest.fixture
def output(results):
    Handler.asked.clear()
    return results.weights("toy")


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "toy.pth").write_bytes(BODY)
    return folder


def left_behind(output):
    return sorted(file.name for file in output.parent.iterdir()) if output.parent.exists() else []


@pytest.mark.parametrize("path", ["good.pth", "unsized.pth"])
def test_a_download_is_placed_and_reported(server, results, output, capsys, monkeypatch, path):
    monkeypatch.setattr(download, "REPORT", 0)
    fetch.run("toy", {"url": f"{server}/{path}", "sha256": DIGEST.upper()}, None, results)
    assert output.read_bytes() == BODY
    assert left_behind(output) == ["toy"]
    printed = capsys.readouterr().out
    assert f"from {server}/{path}" in printed
    assert ("5 of 5 MB" if path == "good.pth" else "5 MB") in printed
    assert "sha256" not in printed


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("missing.pth", "404"),
        ("gated.pth", "403.*; download it by hand into the weights folder"),
        ("page.pth", "answers with a web page"),
    ],
)
def test_a_bad_answer_leaves_nothing(server, results, output, path, sentence):
    with pytest.raises(SegShiftError, match=sentence) as caught:
        fetch.run("toy", {"url": f"{server}/{path}", "sha256": DIGEST}, None, results)
    assert f"weights toy: {server}/{path} " in str(caught.value)
    assert left_behind(output) == []


def test_a_dead_server_is_a_sentence(server, results, output):
    with pytest.raises(SegShiftError, match="cannot be downloaded"):
        fetch.run("toy", {"url": "http://127.0.0.1:1/toy.pth"}, None, results)
    assert left_behind(output) == []


def test_another_scheme_is_refused(results, output):
    with pytest.raises(SegShiftError, match="must start with http"):
        fetch.run("toy", {"url": "ftp://127.0.0.1/toy.pth"}, None, results)


@pytest.mark.parametrize("source", ["web", "folder"])
def test_a_wrong_digest_names_both_and_keeps_what_was_there(server, folder, results, output, source):
    output.parent.mkdir(parents=True)
    output.write_bytes(b"older")
    entry = {"url": f"{server}/good.pth", "file": "toy.pth", "sha256": "0" * 64}
    with pytest.raises(SegShiftError) as caught:
        fetch.run("toy", entry, folder if source == "folder" else None, results)
    culprit = str(folder / "toy.pth") if source == "folder" else f"{server}/good.pth"
    assert all(word in str(caught.value) for word in ("weights toy", DIGEST, "0" * 64, culprit))
    assert output.read_bytes() == b"older"
    assert left_behind(output) == ["toy"]


# ---- a download that broke off -----------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["truncated.pth", "forgetful.pth", "untagged.pth"])
def test_a_broken_download_goes_on_where_the_server_still_has_that_version(server, results, output, path):
    entry, half = {"url": f"{server}/{path}", "sha256": DIGEST}, len(BODY) // 2
    tagged = path != "untagged.pth"
    with pytest.raises(SegShiftError, match=f"broke off after {half} of {len(BODY)} bytes") as caught:
        fetch.run("toy", entry, None, results)
    assert str(caught.value).endswith("bytes; the same command goes on from there" if tagged else "bytes")
    assert left_behind(output) == ["toy.part", *(["toy.part.version"] if tagged else [])]
    assert not output.exists()
    if not tagged:  # it gives no version to ask for, so all of it comes again
        entry["url"] = f"{server}/good.pth"
    fetch.run("toy", entry, None, results)
    assert output.read_bytes() == BODY
    assert [asked for _, asked in Handler.asked] == [None, f"bytes={half}-" if tagged else None]
    assert left_behind(output) == ["toy"]


@pytest.mark.parametrize("change", ["version", "url"])
def test_another_version_or_url_starts_anew(server, results, output, monkeypatch, change):
    with pytest.raises(SegShiftError, match="broke off"):
        fetch.run("toy", {"url": f"{server}/truncated.pth", "sha256": DIGEST}, None, results)
    (output.parent / "toy.part").write_bytes(b"of another version")
    path = "good.pth"
    if change == "version":
        monkeypatch.setattr(Handler, "version", '"two"')
        path = "truncated.pth"
    fetch.run("toy", {"url": f"{server}/{path}", "sha256": DIGEST}, None, results)
    assert output.read_bytes() == BODY
    assert left_behind(output) == ["toy"]


def test_a_part_longer_than_the_file_starts_anew(server, results, output, monkeypatch):
    entry = {"url": f"{server}/truncated.pth", "sha256": DIGEST}
    with pytest.raises(SegShiftError, match="broke off"):
        fetch.run("toy", entry, None, results)
    (output.parent / "toy.part").write_bytes(BODY)
    with pytest.raises(SegShiftError, match="broke off"):  # all of it was asked for again
        fetch.run("toy", entry, None, results)
    assert [asked for _, asked in Handler.asked] == [None, f"bytes={len(BODY)}-", None]
    fetch.run("toy", entry, None, results)
    assert output.read_bytes() == BODY


def test_a_part_that_does_not_follow_is_thrown_away(server, results, output):
    entry = {"url": f"{server}/askew.pth", "sha256": DIGEST}
    with pytest.raises(SegShiftError, match="broke off"):
        fetch.run("toy", entry, None, results)
    with pytest.raises(SegShiftError, match="gave another part than was asked for$"):
        fetch.run("toy", entry, None, results)
    assert left_behind(output) == []


# ---- files that nobody verified ----------------------------------------------------------------------------


def test_the_first_fetch_without_a_digest_records_what_it_got(server, results, output, capsys):
    entry = {"url": f"{server}/good.pth", "sha256": None, "licence": "CC-BY-NC-4.0", "note": "no trade"}
    fetch.run("toy", entry, None, results)
    printed = capsys.readouterr().out
    assert "weights toy: licence CC-BY-NC-4.0; no trade\n" in printed
    assert printed.index("licence") < printed.index("from http")
    assert f"weights toy: not verified by the project; sha256 {DIGEST}\n" in printed
    assert output.read_bytes() == BODY
    assert left_behind(output) == ["toy", "toy.sha256"]
    assert results.weights_record("toy").read_text() == f"{DIGEST}  toy\n"  # as sha256sum -c reads it
    fetch.run("toy", entry, None, results)
    assert records.read(results, "toy") == DIGEST


@pytest.mark.parametrize("source", ["web", "folder"])
def test_what_is_fetched_later_must_be_what_was_recorded(server, folder, results, output, source):
    output.parent.mkdir(parents=True)
    output.write_bytes(b"older")
    records.write(results, "toy", "0" * 64)
    entry = {"url": f"{server}/good.pth", "file": "toy.pth", "sha256": None}
    with pytest.raises(SegShiftError) as caught:
        fetch.run("toy", entry, folder if source == "folder" else None, results)
    for words in ("weights toy", DIGEST, f"fetched first had {'0' * 64}", str(results.weights_record("toy"))):
        assert words in str(caught.value)
    assert output.read_bytes() == b"older"
    assert left_behind(output) == ["toy", "toy.sha256"]


@pytest.mark.parametrize("same", [True, False])
def test_a_verified_digest_keeps_the_record_only_where_they_agree(folder, results, output, same):
    output.parent.mkdir(parents=True)
    records.write(results, "toy", DIGEST if same else "0" * 64)
    fetch.run("toy", {"file": "toy.pth", "sha256": DIGEST}, folder, results)
    assert records.read(results, "toy") == (DIGEST if same else None)


def test_a_damaged_record_is_named(folder, results, output):
    output.parent.mkdir(parents=True)
    results.weights_record("toy").write_text("nothing\n")
    with pytest.raises(SegShiftError, match=r"toy\.sha256 holds no sha256; remove it"):
        fetch.run("toy", {"file": "toy.pth", "sha256": None}, folder, results)


MODEL = "hcp1/mae_b/frozen/linear/42"
OTHER = "1" * 64


@pytest.mark.parametrize("record", ["file", "run.json", "none"])
@pytest.mark.parametrize("verified", [DIGEST, OTHER])
def test_writing_the_recorded_digest_into_the_entry_changes_no_settings(results, request, record, verified):
    """settings.yaml keeps its null where the digest is the recorded one, and only there."""
    expanded = grid.read(request.config.rootpath / "config")
    model = grid.Model.parse(MODEL)
    before = expanded.settings(model)
    assert before["weights"] == {"mae_vit_base": None}
    results.run(MODEL).mkdir(parents=True)
    results.weights("any").parent.mkdir(parents=True)
    if record == "file":
        records.write(results, "mae_vit_base", DIGEST)
    elif record == "run.json":  # the folder with the record was lost
        made = {"files": {"mae_vit_base": DIGEST}, "configuration": before}
        (results.run(MODEL) / "run.json").write_text(json.dumps(made))
    expanded.config.weights["mae_vit_base"].sha256 = verified
    held = records.held(results, MODEL, expanded.settings(model)["weights"])
    unchanged = record != "none" and verified == DIGEST
    assert held == {"mae_vit_base": None if unchanged else verified}


# ---- where a file may be -----------------------------------------------------------------------------------


def test_a_file_of_the_hub_is_asked_for_by_name_and_revision(server, results, output, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", server)
    fetch.run("toy", {"hub": "timm/some_model.tag@0123abc", "sha256": DIGEST}, None, results)
    fetch.run("toy", {"hub": "owner/name@main/sub/other.pth", "sha256": DIGEST}, None, results)
    assert [path for path, _ in Handler.asked] == [
        "/timm/some_model.tag/resolve/0123abc/model.safetensors",
        "/owner/name/resolve/main/sub/other.pth",
    ]
    assert output.read_bytes() == BODY


def test_the_users_file_comes_first_and_is_linked(server, folder, results, output):
    fetch.run("toy", {"file": "toy.pth", "url": f"{server}/missing.pth", "sha256": DIGEST}, folder, results)
    assert os.path.samefile(folder / "toy.pth", output)
    (output.parent / "toy.part").write_bytes(b"of a download that broke off")
    fetch.run("toy", {"file": "toy.pth", "sha256": DIGEST}, folder, results)  # once more, over its own link
    assert output.read_bytes() == BODY
    assert left_behind(output) == ["toy"]
    fetch.run("toy", {"file": "toy", "sha256": DIGEST}, output.parent, results)  # in place
    assert output.read_bytes() == BODY


def test_without_hard_links_it_is_copied(folder, results, output, monkeypatch):
    def refuse(*_):
        raise OSError("cross-device link")

    monkeypatch.setattr(fetch.os, "link", refuse)
    fetch.run("toy", {"file": "toy.pth", "sha256": DIGEST}, folder, results)
    assert output.read_bytes() == BODY
    assert not os.path.samefile(folder / "toy.pth", output)


def test_a_package_file_is_found_without_importing_the_package(tmp_path, results, output, monkeypatch):
    package = tmp_path / "site" / "toy_weights_package"
    (package / "asset").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    (package / "asset" / "toy.pth").write_bytes(BODY)
    monkeypatch.syspath_prepend(package.parent)
    fetch.run("toy", {"package": "toy_weights_package/asset/toy.pth", "sha256": DIGEST}, None, results)
    assert output.read_bytes() == BODY
    assert "toy_weights_package" not in sys.modules


def test_a_missing_package_falls_through_to_the_web(server, results, output):
    entry = {"package": "no_such_package/toy.pth", "url": f"{server}/good.pth", "sha256": DIGEST}
    fetch.run("toy", entry, None, results)
    assert output.read_bytes() == BODY


def test_found_nowhere_lists_what_was_tried(folder, results, output):
    entry = {"file": "other.pth", "package": "no_such_package/toy.pth"}
    with pytest.raises(SegShiftError) as caught:
        fetch.run("toy", entry, folder, results)
    assert str(folder / "other.pth") in str(caught.value)
    assert "no_such_package/toy.pth" in str(caught.value)
    assert left_behind(output) == []
