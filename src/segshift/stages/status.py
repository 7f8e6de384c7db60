"""`segshift status`: what failed, its last line, and where its log lies. The end of a failed workflow's
output."""

from pathlib import Path

from segshift.paths import Results


def run(results: Results, failed: list[str]) -> None:
    """Print one paragraph a failed job.

    Args:
        results: for the folder of partial tables.
        failed: ``rule=log`` of each failed job, as the workflow knows them.
    """
    partial = (results.tables / "partial").resolve()
    print(f"\n{len(failed)} failed. Partial tables: {partial}. Try again: the same command")
    for pair in failed:
        rule, _, name = pair.partition("=")
        log = Path(name).resolve()  # the workflow may run in another folder than its reader's shell
        print(f"  {rule} {Path(name).parent}: {last_line(log)}\n    log: {log}")


def last_line(log: Path) -> str:
    """The last line that says something."""
    try:
        lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    except FileNotFoundError:
        return "it left no log"
    return lines[-1] if lines else "its log is empty"
