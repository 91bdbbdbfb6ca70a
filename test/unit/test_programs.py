"""The programs of ``python -m``: what a user can mend is one line, as in ``dhpe``."""

import subprocess
import sys

import pytest

from dhpe_ros.system.programs import run_program


def raising(error):
    def main():
        raise error

    return main


@pytest.mark.parametrize(
    ("main", "code", "said"),
    [
        (lambda: None, 0, ""),
        (raising(ValueError("shares of\n  what?")), 2, "error: shares of what?\n"),
        (raising(FileNotFoundError("no fits in nowhere")), 2, "error: no fits in nowhere\n"),
        (raising(KeyboardInterrupt()), 130, "interrupted\n"),
    ],
)
def test_a_program_ends_with_a_code_and_a_line(main, code, said, capsys):
    with pytest.raises(SystemExit) as ended:
        run_program(main)
    assert ended.value.code == code
    assert capsys.readouterr().err == said


def test_what_is_our_own_mistake_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError):
        run_program(lambda: 1 / 0)


def test_a_folder_that_is_not_there_is_named_by_a_real_program(tmp_path):
    words = ["--real", str(tmp_path / "nowhere"), "--output", str(tmp_path / "fits")]
    command = [sys.executable, "-m", "dhpe_lab.synthesis.photo_fits", *words]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 2
    assert result.stderr.startswith("error: no labels at ")
    assert "Traceback" not in result.stderr
