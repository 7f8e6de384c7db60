"""What Slurm says of a folder's jobs, with a `squeue` that says what the test wrote."""

import pytest

from segshift import slurm
from segshift.errors import SegShiftError


@pytest.fixture
def queue(tmp_path, monkeypatch):
    """A function that sets what the next calls of `squeue` say, one text a call, the last one for ever."""
    commands = tmp_path / "bin"
    commands.mkdir()
    said = commands / "said"
    said.mkdir()
    squeue = commands / "squeue"
    squeue.write_text(
        f'#!/bin/sh\nset -- "{said}"/*\n'
        f'[ $# -gt 1 ] && mv "$1" "{commands}/now" || cp "$1" "{commands}/now"\n'
        f'. "{commands}/now"\n'
    )
    squeue.chmod(0o755)
    monkeypatch.setenv("PATH", f"{commands}:/usr/bin:/bin")

    def says(*scripts):
        for number, script in enumerate(scripts):
            (said / f"{number:02}").write_text(script)

    return says


def line(number, state, about, where):
    return f'echo "{number}|{state}|{about}|{where}"\n'


def test_jobs_of_this_folder_alone(queue, tmp_path):
    here, other = tmp_path / "here", tmp_path / "other"
    about = "rule_train_wildcards_hcp1_unet_full_own_42"
    queue(line(7, "RUNNING", about, here) + line(8, "PENDING", "(null)", other))
    assert slurm.jobs(here) == [("7", "RUNNING", "train_hcp1_unet_full_own_42")]


def test_waiting_says_what_for_and_ends_with_the_last_job(queue, tmp_path):
    two = line(7, "RUNNING", "a", tmp_path) + line(9, "PENDING", "b", tmp_path)
    queue(two, two, line(9, "RUNNING", "b", tmp_path), "true\n")
    heard = []
    assert slurm.wait(tmp_path, heard.append, every=0.01) == 2
    assert [sentence.partition(": ")[2] for sentence in heard] == [
        "a (7, running), b (9, pending)",
        "b (9, running)",
    ]


def test_a_silent_slurm_is_an_error_and_none_is_none(queue, tmp_path, monkeypatch):
    queue("echo 'slurm_load_jobs error: Unable to contact' >&2; exit 1\n")
    with pytest.raises(
        SegShiftError, match="Slurm cannot say which jobs of this folder run: slurm_load_jobs"
    ):
        slurm.jobs(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert slurm.jobs(tmp_path) == []
