"""The command itself: its help, its exit codes, and a reader who has seen enough."""

import subprocess
import sys
from pathlib import Path

import pytest

from segshift import __version__, cli

VERBS = next(action.choices for action in cli.parser()._actions if action.choices)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_and_every_option_says_what_it_is(verb):
    sub = VERBS[verb]
    assert sub.description.endswith(".")
    for action in sub._actions:
        assert action.help, f"{verb} {action.dest}"


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_is_a_stage_or_a_view_of_one(verb):
    stages = Path(cli.__file__).parent / "stages"
    assert (stages / f"{verb.replace('-', '_')}.py").exists() or verb == "show"


def test_version(capsys):
    with pytest.raises(SystemExit, match="0"):
        cli.main(["--version"])
    assert capsys.readouterr().out.strip() == __version__


def test_an_unknown_verb_lists_the_known_ones(capsys):
    with pytest.raises(SystemExit, match="2"):
        cli.main(["tabluate"])
    assert "tabulate" in capsys.readouterr().err


def test_a_pipe_that_closes_early_is_no_error():
    code = "import sys, time; from segshift import cli; cli.stage = lambda verb: sys.modules['__main__']\n"
    code += "def run(*words, **more):\n    time.sleep(0.5)\n    print('line\\n' * 100000)\n"
    code += "sys.exit(cli.main(['cells']))"
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141
