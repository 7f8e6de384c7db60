"""The end of a failed workflow's output."""

from segshift.cli import main


def test_each_failed_job_with_its_last_words_and_its_log(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    log = tmp_path / "results/runs/a/train.log"
    log.parent.mkdir(parents=True)
    log.write_text("Traceback\nValueError: too small\n\n")
    failed = ["train=results/runs/a/train.log", "adapt=results/runs/b/adapt.log"]
    assert main(["status", "--failed", *failed]) == 0
    said = capsys.readouterr().out
    assert f"2 failed. Partial tables: {tmp_path / 'results/tables/partial'}" in said
    assert f"train results/runs/a: ValueError: too small\n    log: {log}\n" in said
    assert "adapt results/runs/b: it left no log" in said
