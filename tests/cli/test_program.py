"""The program as a whole: help, start-up, errors, interruption."""

import os
import resource
import shlex
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest
import typer

import flowzoo
from flowzoo.cli import app, program
from flowzoo.utils.messages import Argument, Message

COMMANDS = ("list", "info", "train", "fit", "evaluate", "sample", "score", "export", "serve", "demo")
START = "from flowzoo.cli import main; import sys; "


def start(*arguments, code=START + "main()", **options) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, **options)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_examples_that_parse(command, succeed):
    text = succeed(command, "--help")
    lines = [line.split("$ ", 1)[1] for line in text.splitlines() if "$ flowzoo " in line]
    assert lines
    group = typer.main.get_command(app)
    for line in lines:
        words = shlex.split(line)
        assert words[:2] == ["flowzoo", command]
        group.commands[command].make_context(command, words[2:])  # Raises on an unknown option.


def test_help_of_the_program_names_every_command(succeed):
    text = succeed("--help")
    for command in COMMANDS:
        assert f"\n  {command} " in text
    assert "..." not in text.split("Commands:")[1].split("Examples")[0].replace("COMMAND [ARGS]...", "")
    assert succeed().strip() == text.strip()


def test_version(succeed):
    assert succeed("--version") == f"flowzoo {program.__version__}\n"


@pytest.mark.parametrize("arguments", [["--help"], ["list"], ["list", "--data"], ["info", "realnvp"]])
def test_quick_commands_import_nothing_heavy(arguments):
    code = START + (
        "\ntry: main()\nexcept SystemExit as end: assert end.code == 0\n"
        "heavy = {'tensorflow', 'keras', 'pandas', 'matplotlib', 'pyarrow'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    result = start(*arguments, code=code)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("command", ["list", "--help"])
def test_quick_commands_are_quick(command):
    # Processor time: test machines are busy. TensorFlow's import alone takes 2 seconds of it.
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert start(command).returncode == 0
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1.0


def test_output_is_plain_when_piped():
    for arguments in (["--help"], ["list"], ["lst"]):
        result = start(*arguments)
        assert "\x1b" not in result.stdout + result.stderr
        assert "─" not in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["lst"], "No such command 'lst'. Did you mean 'list'? See 'flowzoo --help'."),
        (["--verbose"], "No such option: --verbose"),
        (["fit"], "Missing argument 'DATA'. See 'flowzoo fit --help'."),
        (["fit", "x.csv", "--epoch", "3"], "--epochs"),
        (["fit", "x.csv", "--epochs", "many"], "Invalid value for '--epochs': "),
        (["fit", "x.csv", "--epochs", "0"], "Invalid value for '--epochs'"),
    ],
)
def test_usage_errors(arguments, message, fail):
    line = fail(*arguments)
    assert message in line.replace("'root ", "'flowzoo ").replace("{DATA}", "DATA")


def test_a_closed_pipe_is_not_an_error():
    reader = f"{shlex.quote(sys.executable)} -c '{START}main()' list --data | head -1"
    result = subprocess.run(["bash", "-c", reader], capture_output=True, text=True)
    assert result.stderr == ""


def test_debug_shows_the_traceback(run, monkeypatch):
    result = run("--debug", "info", "relnvp")
    assert result.exit_code == 1
    assert isinstance(result.exception, ValueError)
    monkeypatch.setenv("FLOWZOO_DEBUG", "1")
    assert isinstance(run("info", "relnvp").exception, ValueError)


def test_unexpected_errors_keep_their_traceback():
    code = (
        "import flowzoo.models._registry\n"
        "def broken(pattern='*', pretrained=False): return 1 / 0\n"
        "flowzoo.models._registry.list_models = broken\n" + START + "main()"
    )
    result = start("list", code=code)
    assert result.returncode == 1
    assert "Traceback" in result.stderr
    assert "ZeroDivisionError" in result.stderr


def test_python_runs_the_package():
    command = [sys.executable, "-m", "flowzoo", "--version"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stdout == f"flowzoo {flowzoo.__version__}\n"


def heed_interrupts():
    """Restores SIGINT in a child process: a shell ignores it for jobs in the background."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_interruption(tmp_path):
    """Ctrl-C while TensorFlow trains: one short line, exit code 130."""
    process = subprocess.Popen(
        [sys.executable, "-c", START + "main()", "fit", "two_moons", "--epochs", "1000"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heed_interrupts,
    )
    for line in process.stdout:
        if line.startswith("epoch 1/"):
            break
    time.sleep(0.5)
    os.kill(process.pid, signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert stderr.splitlines()[-1].startswith("interrupted:")
    assert "Traceback" not in stderr


@pytest.mark.parametrize("error", ["SystemError('from C++')", "ValueError('half-done')"])
def test_interruption_that_comes_out_as_another_error(error):
    """A Ctrl-C while C++ calls back into Python causes another error, which is not the user's mistake."""
    code = (
        "import os, signal, time, flowzoo.models._registry\n"
        "def interrupted(pattern='*', pretrained=False):\n"
        "    try:\n"
        "        os.kill(os.getpid(), signal.SIGINT); time.sleep(10)\n"
        "    except KeyboardInterrupt:\n"
        f"        raise {error} from None\n"
        "flowzoo.models._registry.list_models = interrupted\n" + START + "main()"
    )
    process = subprocess.run(
        [sys.executable, "-c", code, "list"], capture_output=True, text=True, preexec_fn=heed_interrupts
    )
    assert (process.returncode, process.stderr) == (130, "interrupted: stopped before the end\n")


def test_warnings_of_flowzoo_are_one_line(capsys):
    inside = str(Path(program.__file__).parents[1] / "training" / "adapt.py")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = program._shows_warnings(SimpleNamespace(invoked_subcommand="fit"))
        warnings.warn_explicit("Columns hold\n whole numbers.", UserWarning, inside, 1)
        step = Message("Say {step}.", step=Argument("dequantize", [1.0, 0.5]))
        warnings.warn_explicit(step, UserWarning, inside, 1)
        warnings.warn_explicit("not ours", UserWarning, "/elsewhere/keras/trainer.py", 1)
    assert capsys.readouterr().err.splitlines() == [
        "warning: Columns hold whole numbers.",
        "warning: Say --option 'dequantize=[1,0.5]'.",
    ]
