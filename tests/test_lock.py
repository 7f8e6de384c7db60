"""One writer a cell: who is refused, who takes over, and that of several takers one wins."""

import json
import multiprocessing
import os
import socket
import time

import pytest

from segshift import lock
from segshift.errors import SegShiftError
from segshift.lock import STALE, CellLock

HERE = socket.gethostname()
FORK = multiprocessing.get_context("fork")


def leave(folder, *, host=HERE, process, job=None, age=0.0):
    """A lock as another process left it."""
    file = folder / "resume" / "lock"
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps({"host": host, "process": process, "job": job, "since": 0}))
    past = time.time() - age
    os.utime(file, (past, past))
    return file


@pytest.fixture
def dead():
    """The number of a process that is no more."""
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    return child


def test_a_second_trainer_is_refused_with_process_and_host(tmp_path):
    with CellLock(tmp_path):
        with pytest.raises(
            SegShiftError, match=f"^{tmp_path} is being trained by process {os.getpid()} on {HERE}$"
        ):
            CellLock(tmp_path).__enter__()
        holder = json.loads((tmp_path / "resume" / "lock").read_text())
        assert (holder["process"], holder["host"]) == (os.getpid(), HERE)
    assert list((tmp_path / "resume").iterdir()) == []


def test_a_living_process_elsewhere_is_refused(tmp_path):
    leave(tmp_path, host="elsewhere", process=1, age=STALE - 30)
    with pytest.raises(SegShiftError, match="process 1 on elsewhere"):
        CellLock(tmp_path).__enter__()


def test_a_stale_lock_is_taken_over(tmp_path):
    leave(tmp_path, host="elsewhere", process=1, age=STALE + 30)
    with CellLock(tmp_path) as mine:
        assert (tmp_path / "resume" / "lock").read_text() == mine.text
    assert list((tmp_path / "resume").iterdir()) == []


def test_a_dead_process_is_taken_over(tmp_path, dead):
    leave(tmp_path, process=dead)
    with CellLock(tmp_path):
        pass


def test_a_zombie_is_taken_over(tmp_path):
    child = os.fork()
    if child == 0:
        os._exit(0)
    leave(tmp_path, process=child)
    deadline = time.monotonic() + 5
    while lock._alive(child) and time.monotonic() < deadline:
        time.sleep(0.01)
    with CellLock(tmp_path):
        pass
    os.waitpid(child, 0)


def test_the_same_job_started_again_on_another_host_takes_over(tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    leave(tmp_path, host="elsewhere", process=1, job="78")
    with pytest.raises(SegShiftError, match="elsewhere"):
        CellLock(tmp_path).__enter__()
    leave(tmp_path, host="elsewhere", process=1, job="77")
    with CellLock(tmp_path):
        pass


def test_two_processes_of_one_job_on_one_host_do_not_take_from_each_other(tmp_path, monkeypatch):
    """A workflow inside an allocation gives all its jobs the same id."""
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    leave(tmp_path, process=os.getppid(), job="77")
    with pytest.raises(SegShiftError, match=f"process {os.getppid()} on {HERE}"):
        CellLock(tmp_path).__enter__()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"host": "a"}'])
def test_an_unreadable_lock_is_refused_while_young_and_taken_over_when_stale(tmp_path, content):
    file = leave(tmp_path, process=1)
    file.write_text(content)
    with pytest.raises(SegShiftError, match=f"{file} does not name, since it cannot be read"):
        CellLock(tmp_path).__enter__()
    past = time.time() - STALE - 1
    os.utime(file, (past, past))
    with CellLock(tmp_path):
        pass


def test_a_claim_of_a_dead_taker_holds_nobody_up_for_ever(tmp_path, dead):
    leave(tmp_path, process=dead)
    claim = tmp_path / "resume" / "lock.claim"
    claim.write_text("{}")
    past = time.time() - STALE - 1
    os.utime(claim, (past, past))
    with CellLock(tmp_path):
        assert not claim.exists()


def contend(folder, start, holding, most, won):
    """Try to take a lock; note how many hold it at once."""
    start.wait()
    try:
        with CellLock(folder):
            with holding.get_lock():
                holding.value += 1
                most.value = max(most.value, holding.value)
            won.acquire(block=False)
            time.sleep(0.05)
            with holding.get_lock():
                holding.value -= 1
    except SegShiftError:
        pass


def test_of_many_takers_of_a_dead_lock_one_at_a_time_holds_it(tmp_path, dead, monkeypatch):
    """Slowed down between judging and taking, where a careless lock loses."""
    real = CellLock._left_over

    def slow(self):
        found = real(self)
        time.sleep(0.01)
        return found

    monkeypatch.setattr(CellLock, "_left_over", slow)
    for attempt in range(5):
        folder = tmp_path / str(attempt)
        folder.mkdir()
        leave(folder, process=dead)
        start, won = FORK.Barrier(4), FORK.Semaphore(4)
        holding, most = FORK.Value("i", 0), FORK.Value("i", 0)
        takers = [FORK.Process(target=contend, args=(folder, start, holding, most, won)) for _ in range(4)]
        for taker in takers:
            taker.start()
        for taker in takers:
            taker.join()
        assert [taker.exitcode for taker in takers] == [0] * 4
        assert most.value == 1
        assert won.get_value() < 4
        assert list((folder / "resume").iterdir()) == []


def test_the_holder_keeps_its_lock_fresh(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "BEAT", 0.02)
    with CellLock(tmp_path):
        file = tmp_path / "resume" / "lock"
        os.utime(file, (0, 0))
        deadline = time.monotonic() + 5
        while file.stat().st_mtime == 0 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert time.time() - file.stat().st_mtime < 5


def lose(folder):
    lock.BEAT = 0.02
    with CellLock(folder):
        leave(folder, host="elsewhere", process=1)
        time.sleep(10)


def test_a_holder_whose_lock_was_taken_ends_and_leaves_it(tmp_path):
    loser = FORK.Process(target=lose, args=(tmp_path,))
    loser.start()
    loser.join(5)
    assert loser.exitcode == lock.LOST
    assert json.loads((tmp_path / "resume" / "lock").read_text())["host"] == "elsewhere"


def test_the_lock_of_a_workflow_dies_with_its_process(tmp_path):
    file = tmp_path / "deep" / "lock"
    child = os.fork()
    if child == 0:
        os._exit(0 if lock.take(file) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    held = lock.take(file)
    assert held is not None
    assert lock.take(file) is None
    assert file.read_text() == f"process {os.getpid()} on {HERE}"
    held.close()
    again = lock.take(file)
    assert again is not None
    again.close()
