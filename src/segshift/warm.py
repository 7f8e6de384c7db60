"""A process that has imported what jobs need, and forks itself for each: small jobs then start in no time.

``python -m segshift.warm SOCKET MODULE…`` imports the modules and waits; where ``SEGSHIFT_WARM`` names its
socket, the commands of ``VERBS`` run in a fork of it, with their own words, folder, environment and output.
It ends when its standard input closes. Whoever finds nobody at the socket runs by itself, so nothing depends
on it. A job is killed with the command that asked for it, and all with the process.
"""

import ctypes
import json
import os
import selectors
import signal
import socket
import sys
import time
from contextlib import suppress
from importlib import import_module
from pathlib import Path

VARIABLE = "SEGSHIFT_WARM"
VERBS = ("train", "adapt", "evaluate")
SIGNALS = (signal.SIGTERM, signal.SIGINT)
LONGEST = 1 << 20  # bytes of a request


def ask(words: list[str]) -> int | None:
    """Run a command in a fork of the process that waits; its exit code, or None if there is no such process.

    Signals go on to the fork.
    """
    path = os.environ.get(VARIABLE)
    if not path or not words or words[0] not in VERBS or not _awaited(Path(path)):
        return None
    line = socket.socket(socket.AF_UNIX)
    try:
        line.connect(path)
    except OSError:
        return None
    request = {"words": words, "folder": os.getcwd(), "environment": dict(os.environ)}
    pid, early = 0, []
    for number in SIGNALS:
        signal.signal(number, lambda received, _: _send(pid, received) if pid else early.append(received))
    with line:
        socket.send_fds(line, [json.dumps(request).encode() + b"\n"], [0, 1, 2])
        answers = line.makefile()
        pid = int(answers.readline() or 0)
        while early:
            _send(pid, early.pop())
        code = int(answers.readline() or 1)
    if code < 0:  # killed by a signal: so ends whoever asked for it
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    return code


def _awaited(path: Path) -> bool:
    """True once the process answers; False if there is none, and none that still imports."""
    while not path.exists():
        try:
            os.kill(int(starting(path).read_text()), 0)
        except (OSError, ValueError):
            return False
        time.sleep(0.1)
    return True


def starting(path: Path) -> Path:
    """The file that holds the number of the process while there may be no socket yet."""
    return path.with_name(f"{path.name}.pid")


def _send(pid: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def serve(path: Path, modules: list[str]) -> None:
    """Import modules, then answer at a socket until standard input closes."""
    for number in SIGNALS:  # Ctrl-C is for those who asked; they pass it on
        signal.signal(number, signal.SIG_IGN)
    for name in modules:
        import_module(name)
    jobs: dict[int, socket.socket] = {}
    wake, woken = socket.socketpair()
    wake.setblocking(False)
    signal.set_wakeup_fd(wake.fileno())
    signal.signal(signal.SIGCHLD, lambda *_: None)
    with socket.socket(socket.AF_UNIX) as door, selectors.DefaultSelector() as waiting:
        door.bind(str(path))
        door.listen(64)
        for end in (door, woken, sys.stdin):
            waiting.register(end, selectors.EVENT_READ)
        while True:
            for key, _ in waiting.select():
                if key.fileobj is sys.stdin:
                    signal.set_wakeup_fd(-1)
                    for pid in jobs:
                        _send(pid, signal.SIGKILL)
                    path.unlink(missing_ok=True)
                    return
                if key.fileobj is door:
                    line, _ = door.accept()
                    if pid := _start(line):
                        jobs[pid] = line
                        waiting.register(line, selectors.EVENT_READ, pid)
                elif key.fileobj is woken:
                    woken.recv(4096)
                    _tell_ended(jobs, waiting)
                elif key.data in jobs and not key.fileobj.recv(1):  # who asked for it is gone
                    _send(key.data, signal.SIGKILL)
                    waiting.unregister(key.fileobj)


def _tell_ended(jobs: dict[int, socket.socket], waiting: selectors.BaseSelector) -> None:
    """Tell those who wait for jobs that ended."""
    for pid in list(jobs):
        done, status = os.waitpid(pid, os.WNOHANG)
        if not done:
            continue
        with jobs.pop(pid) as line:
            with suppress(KeyError):
                waiting.unregister(line)
            with suppress(OSError):
                line.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())


def _start(line: socket.socket) -> int:
    """Fork for a request; 0 if there is none."""
    content, files, *_ = socket.recv_fds(line, LONGEST, 3)
    while content and not content.endswith(b"\n"):
        more = line.recv(LONGEST)
        content = content + more if more else b""
    if not content or len(files) != 3:
        line.close()
        return 0
    server = os.getpid()
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # the fork gets them once it answers them
    pid = os.fork()
    if not pid:
        _run(json.loads(content), files, server)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    for file in files:
        os.close(file)
    line.sendall(f"{pid}\n".encode())
    return pid


def _run(request: dict, files: list[int], server: int) -> None:
    """The fork: become the command."""
    code = 1
    try:
        with suppress(OSError, AttributeError):  # die with the server, where the system can say so
            ctypes.CDLL(None).prctl(1, signal.SIGKILL)
        if os.getppid() != server:
            return
        os.setsid()  # a terminal's Ctrl-C would reach it twice
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        for standard, file in enumerate(files):
            os.dup2(file, standard)
        os.closerange(3, 64)
        os.chdir(request["folder"])
        os.environ.clear()
        os.environ.update(request["environment"])
        sys.argv[1:] = request["words"]
        from segshift.cli import main

        code = main(request["words"])
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else (0 if end.code is None else 1)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        for stream in (sys.stdout, sys.stderr):
            with suppress(Exception):
                stream.flush()
        os._exit(code)


if __name__ == "__main__":
    serve(Path(sys.argv[1]), sys.argv[2:])
    os._exit(0)  # to take apart what was imported would take seconds
