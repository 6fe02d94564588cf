"""What a system that is not supported is told."""

import subprocess
import sys

from tests.running import PROJECT

AS_ON_WINDOWS = "import sys, runpy; sys.platform = 'win32'; runpy.run_module('steps', run_name='__main__')"


def test_windows_is_told_in_one_line_and_where_to_go():
    words = [sys.executable, "-c", AS_ON_WINDOWS]
    done = subprocess.run(words, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "Windows itself is not supported" in line and "WSL" in line
