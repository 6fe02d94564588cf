"""What main's run says after a Ctrl-C, with the detached process that marks it again and without.

    python benchmarks/interrupts.py [--times 5]

Types `mlflow run` on breast_cancer and interrupts all of its processes at moments spread over the chain: in a copy of
this tree, and in one whose main starts no such process. MLflow writes FAILED over what main says of its own run
(`RunStatus.is_terminated` is asked with a text); prints how many runs of main ended as KILLED.
"""

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from mlflow import MlflowClient

sys.path.insert(0, str(Path(__file__).parent))

from typed import PROJECT, command, environment, store, words

PARTS = ("MLproject", "python_env.yaml", "requirements.txt", "problems", "steps", "tabular")
MOMENTS = ("  etl …", "  hpo lightgbm …", "  train random_forest …")
MOST_SECONDS = 60


def copy(folder: Path, *, marks: bool) -> Path:
    """The tree in a folder; without `marks`, one whose main leaves its run to MLflow."""
    for part in PARTS:
        if (PROJECT / part).is_dir():
            shutil.copytree(PROJECT / part, folder / part)
        else:
            shutil.copy(PROJECT / part, folder / part)
    if not marks:
        module = folder / "steps" / "process" / "lifecycle.py"
        text, count = re.subn(
            r'(def _mark_later\(.*?\n    """.*?"""\n)', r"\1    return\n", module.read_text(), flags=re.S
        )
        assert count == 1
        module.write_text(text)
    return folder


def status(folder: Path, project: Path, moment: str) -> str:
    """What the run of main says in the end, of a chain that was interrupted when it had said this line."""
    typed = command(project, "--experiment-name", "interrupts", *words(trials=10, reuse="false"))
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen(typed, cwd=folder, env=environment(folder), start_new_session=True, **pipes) as process:
        run_id = None
        for line in process.stdout:
            found = re.search(r"^  run (\w{32}) ", line)
            run_id = found[1] if found else run_id
            if line.startswith(moment):
                break
        os.killpg(process.pid, signal.SIGINT)
        process.communicate()
    client = MlflowClient(store(folder), store(folder))
    until, said = time.monotonic() + MOST_SECONDS, ""
    while time.monotonic() < until and said != "KILLED":
        said = client.get_run(run_id).info.status
        time.sleep(0.5)
    return said


def main() -> None:
    """Interrupt both trees in turn, and print what their runs say."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=5)
    options = parser.parse_args()
    # in a shell's background it is ignored, and so it would be by what this starts
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        (folder / "with").mkdir()
        (folder / "without").mkdir()
        trees = {name: copy(folder / name, marks=name == "with") for name in ("with", "without")}
        found: dict[str, list[str]] = {name: [] for name in trees}
        for number in range(options.times):
            for name, project in trees.items():
                found[name].append(status(folder, project, MOMENTS[number % len(MOMENTS)]))
                print(f"{name:8} {MOMENTS[number % len(MOMENTS)].strip()}: {found[name][-1]}", flush=True)
    for name, said in found.items():
        print(f"{name:8} {said.count('KILLED')} of {len(said)} runs of main say KILLED")


if __name__ == "__main__":
    main()
