"""What a check says, and checks that cannot hang."""

import subprocess
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Literal, NamedTuple

from segshift.errors import SegShiftError


class Finding(NamedTuple):
    """``fix``: something needed is missing; ``note``: worth knowing. ``to_do``: what to do about it."""

    state: Literal["ok", "note", "fix"]
    subject: str
    said: str
    to_do: str = ""


def bounded(subject: str, check: Callable[[], Iterable[Finding]], seconds: float) -> list[Finding]:
    """The findings of a check, or that it took too long or failed.

    Args:
        subject: of the finding in either case.
        check: looks at files or asks somebody.
        seconds: how long it may take.
    """
    found: list[Finding] = []
    late = f"gave no answer in {seconds:g} s"
    ended = [Finding("fix", subject, late, "is a network or a file system away? try again")]

    def work() -> None:
        try:
            found.extend(check())
            ended.clear()
        except SegShiftError as error:
            ended[:] = [Finding("fix", subject, str(error))]
        except Exception as error:  # whatever it is, it is the finding, and other checks go on
            ended[:] = [Finding("fix", subject, f"cannot be looked at: {error!r}")]

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)
    return [*found, *ended]


def ask(words: Sequence[str], seconds: float = 10.0) -> str:
    """What a command prints.

    Raises:
        SegShiftError: it fails, or says nothing in time.
    """
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=seconds)
    except subprocess.TimeoutExpired:
        raise SegShiftError(f"{words[0]} gave no answer in {seconds:g} s") from None
    except OSError as error:
        raise SegShiftError(f"{words[0]} cannot be started: {error}") from None
    if done.returncode:
        said = " ".join((done.stderr or done.stdout).split())
        raise SegShiftError(f"{words[0]} says: {said or f'exit code {done.returncode}'}")
    return done.stdout
