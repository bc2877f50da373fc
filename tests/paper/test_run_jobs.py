"""The workflow of the paper's tables on a throw-away project, on this machine and against a stub of Slurm.

The project has the real rules, recipes and plan; its trainer writes a small record at once, or does what a file says.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from reading import wait_for

from figures.fingerprint import PACKAGES, ROOT
from paper.run_jobs import gpus, hold_one_gpu

TRAINER = '''\
"""Stands for the trainer: says that it was called, then does what the file `behaviour` says for this recipe."""
import json, os, time
from pathlib import Path
from lskd.errors import LskdError
from lskd.recipes import load_recipe
from types import SimpleNamespace as Options
def select_device(name):
    raise AssertionError("nothing was begun")
def act(kind, recipe, seed):
    with open("calls", "a") as stream:
        print(kind, recipe, seed, os.environ.get("SLURM_JOB_ID", "here"), file=stream)
    told = json.loads(Path("behaviour").read_text()) if Path("behaviour").exists() else {}
    todo = told.get(f"{kind} {recipe}")
    if todo == "fail" or (todo == "fail once" and Path("calls").read_text().count(f"{kind} {recipe} ") == 1):
        raise LskdError(f"{recipe}: the stub fails as told")
    if todo == "sleep":
        Path("asleep").touch()
        time.sleep(60)
def train_cached(recipe, *, seed, settings, members, runs, teacher_logits, table_dtype, **options):
    act("train", recipe, seed)
    config = load_recipe(recipe, settings=settings, members=members).config()
    taught = any(member["method"] != "plain" for member in config["members"].values())
    about = {"name": recipe, "config": config, "seed": seed, "teacher": None, "trainer": 1}
    about["dataset"] = {"digest": "d", "train_size": 1}
    about["teacher_logits"] = {"source": teacher_logits, "dtype": table_dtype} if taught else None
    about["execution"] = {"device": "cpu", "precision": "float32"}
    folder = Path(runs) / f"{recipe}-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("run.json", "record.json"):
        (folder / name).write_text(json.dumps(about))
    return folder, {"members": {name: {} for name in members}}
def build_table(recipe, *, settings, options):
    act("table", recipe, 0)
    return Path("a table"), 0.0
'''
PAIR = "resnet56 -> resnet20"
LOCAL = ("--profile", "local")
CHOSEN = ("--set", "tables=[2]", "--set", f'pairs=["{PAIR}"]', "--set", "seeds=1")
KD, MLKD = "cifar100/resnet56-resnet20", "cifar100/resnet56-resnet20-mlkd"
TEACHER, STUDENT = "cifar100/alone/resnet56", "cifar100/alone/resnet20"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "a project"
    root.mkdir()
    for name in (*PACKAGES, "workflow", "recipes", "notebooks"):
        shutil.copytree(ROOT / name, root / name)
    for name in ("_config.yml", "pyproject.toml", "CITATION.cff"):
        shutil.copy(ROOT / name, root / name)
    (root / "lskd" / "trainer" / "run.py").write_text(TRAINER)
    stubs = {"lskd/data/__init__.py": "download_if_missing = print", "paper/store.py": "add = lambda *_: ('a', True)"}
    for name, line in stubs.items():
        with (root / name).open("a") as stream:
            stream.write(f"{line}\n")
    return root


def environment(root: Path, **more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(root), **more}


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "lskd.cli", "run", *arguments]


def call(root: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    words, env = command(*arguments), environment(root, **more)
    return subprocess.run(words, cwd=root, env=env, capture_output=True, text=True, timeout=400, check=False)


def lines(root: Path) -> list[list[str]]:
    """Kind, recipe, seed and Slurm's number of every job that was started, in order."""
    return [line.split() for line in (root / "calls").read_text().splitlines()]


def calls(root: Path) -> list[str]:
    """Kind and recipe of every job that was started."""
    return [f"{kind} {recipe}" for kind, recipe, *_ in lines(root)]


def behave(root: Path, told: dict[str, str]) -> None:
    (root / "behaviour").write_text(json.dumps(told))


def assert_in_order(order: list[str]) -> None:
    """The teacher first, then the table of its logits, then its students."""
    students = min(order.index(f"train {KD}"), order.index(f"train {MLKD}"))
    assert order.index(f"train {TEACHER}") < order.index(f"table {KD}") < students


def test_what_waits_for_a_failed_job_is_left_and_the_next_call_does_it_once(project: Path) -> None:
    behave(project, {f"train {TEACHER}": "fail"})
    done = call(project, *CHOSEN)
    assert done.returncode == 1
    assert Counter(calls(project)) == {f"train {TEACHER}": 1, f"train {STUDENT}": 1}
    assert "1 of 5 jobs are done" in done.stdout
    (project / "behaviour").unlink()
    done = call(project, *CHOSEN)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "5 of 5 jobs are done" in done.stdout
    assert len(calls(project)) == 6
    assert_in_order(calls(project)[2:])


def test_a_failing_job_is_tried_again_and_leaves_the_others_running(project: Path) -> None:
    behave(project, {f"train {KD}": "fail", f"train {STUDENT}": "fail once"})
    done = call(project, *LOCAL, *CHOSEN)
    assert done.returncode != 0
    twice = {f"train {KD}": 2, f"train {STUDENT}": 2}  # with one retry, which went well for the second
    assert Counter(calls(project)) == {f"train {TEACHER}": 1, f"table {KD}": 1, f"train {MLKD}": 1} | twice
    assert_in_order(calls(project))
    assert "the stub fails as told" in done.stderr
    assert "3 of 5 jobs are done" in done.stdout  # the cohort, and the table that it needs
    assert f"to do: cohort/{KD}/seed-0" in done.stdout
    (project / "behaviour").unlink()
    done = call(project, *LOCAL, *CHOSEN)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "5 of 5 jobs are done" in done.stdout
    assert calls(project)[7:] == [f"table {KD}", f"train {KD}"]


def test_time_that_is_over_stops_a_job_and_says_what_is_left(project: Path) -> None:
    behave(project, {f"train {TEACHER}": "sleep", f"train {STUDENT}": "fail"})
    done = call(project, *CHOSEN, "--minutes", "0.5")
    assert done.returncode == 3, done.stdout + done.stderr
    assert calls(project) == [f"train {TEACHER}"]
    assert not (project / "build" / "runs" / f"{TEACHER}-0").exists()


@pytest.mark.parametrize(("where", "stop"), [((), signal.SIGTERM), (LOCAL, signal.SIGINT), (LOCAL, signal.SIGKILL)])
def test_an_interrupted_call_ends_its_job_and_the_next_goes_on(
    project: Path, where: tuple[str, ...], stop: signal.Signals
) -> None:
    chosen = ("--set", "tables=[2]", "--set", 'pairs=["resnet20"]', "--set", "seeds=1")
    behave(project, {f"train {STUDENT}": "sleep"})
    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    started = subprocess.Popen(command(*where, *chosen), cwd=project, env=environment(project), **silent)
    try:
        wait_for((project / "asleep").exists, 200)
        if stop == signal.SIGKILL:  # of Snakemake, as when the machine's memory is full: its jobs see it and end
            children = Path(f"/proc/{started.pid}/task/{started.pid}/children").read_text().split()
            os.kill(int(children[0]), stop)
        else:
            started.send_signal(stop)
        assert started.wait(60) != 0
    finally:
        started.kill()
        started.wait()
    before = calls(project)
    (project / "behaviour").unlink()
    assert before == [f"train {STUDENT}"]
    done = call(project, *where, *chosen)
    assert done.returncode == 0, done.stdout + done.stderr
    assert calls(project) == 2 * before


def test_snakemake_itself_knows_the_tables(project: Path) -> None:
    words = ["--config", "tables=[4]", "seeds=1", "--dry-run", "--", "tables"]
    bare = ["--cores", "1", "--resources", "gpu=1"]  # finds workflow/Snakefile, which includes the tables
    snakemake = [sys.executable, "-m", "snakemake", *bare, *words]
    done = subprocess.run(snakemake, cwd=project, env=environment(project), capture_output=True, text=True)
    told = done.stdout + done.stderr
    assert done.returncode == 0, told
    assert re.search(r"cohort +1\nlogits +1\nnetwork +1|network +1\nlogits +1\ncohort +1", told), told


# --- Slurm -----------------------------------------------------------------------------------------------------------

STUB = """\
# Stands for Slurm: notes what it is called with; a submitted job runs at once in the background. With DIRECT it runs
# the job's own command, without the two calls of Snakemake around it.
import json, os, re, shlex, subprocess, sys
from pathlib import Path
here, name, words = Path({here!r}), Path(sys.argv[0]).stem, sys.argv[1:]
if name == "sbatch":
    number = str(1 + len(list(here.glob("*.job"))))
    (here / f"{{number}}.job").write_text(json.dumps(words))
    inner = next(w.removeprefix("--wrap=") for w in words if w.startswith("--wrap="))
    if "DIRECT" in os.environ:
        kind, job = re.search(r"--target-jobs '(\\w+):job=(\\S+)'", inner).groups()
        inner = f"{{shlex.quote(sys.executable)}} -m lskd.cli run {{os.environ['DIRECT']}} --job {{kind}}/{{job}}"
    state = here / f"{{number}}.state"
    state.write_text("RUNNING")
    script = f"( {{inner}} ) && echo COMPLETED > {{state}} || echo FAILED > {{state}}"
    log = open(here / f"{{number}}.log", "w")
    subprocess.Popen(["sh", "-c", script], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                     env={{**os.environ, "SLURM_JOB_ID": number}}, start_new_session=True)
    print(number)
elif name == "srun":
    kept = words[next(i for i, w in enumerate(words) if not w.startswith("-")):]
    os.execvp(kept[0], kept)
elif name == "sacct":
    for state in here.glob("*.state"):
        print(f"{{state.stem}}|{{state.read_text().strip()}}")
elif name == "sacctmgr":
    print("physics")
"""


def program(path: Path, script: str) -> None:
    """An executable of Python; a first line with the interpreter would break at a space in its path."""
    source = path.with_name(f"{path.name}.py")
    source.write_text(script)
    path.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {shlex.quote(str(source))} "$@"\n')
    path.chmod(0o755)


@pytest.fixture
def slurm(tmp_path: Path, project: Path) -> Path:
    """A folder of commands that look like Slurm's, to put first on the path; it keeps what was submitted."""
    pytest.importorskip("snakemake_executor_plugin_slurm")
    here = tmp_path / "slurm"
    here.mkdir()
    for name in ("sbatch", "srun", "sacct", "squeue", "scancel", "sinfo", "scontrol", "sacctmgr"):
        program(here / name, STUB.format(here=str(here)))
    path = project / "workflow" / "profiles" / "slurm" / "config.yaml"
    text = path.read_text().replace("# slurm_account: YOUR_ACCOUNT", "slurm_account: physics")
    text = text.replace("# slurm_partition: YOUR_PARTITION", "slurm_partition: gpu").replace(
        "latency-wait: 60", "latency-wait: 5"
    )
    assert "slurm_account: physics" in text
    path.write_text(text + "slurm-init-seconds-before-status-checks: 1\nseconds-between-status-checks: 1\n")
    return here


def value(words: list[str], option: str) -> str:
    """What follows an option, as a word of its own or after an equals sign."""
    found = re.search(rf"^{option}[\n=](.*)$", "\n".join(words), flags=re.MULTILINE)
    return found[1] if found else ""


def test_a_cluster_gets_a_submission_a_job_with_what_it_needs(project: Path, slurm: Path) -> None:
    behave(project, {"train cifar100/table-4": "fail once"})
    chosen = ("--set", "tables=[4]", "--set", "seeds=1", "--set", "minutes=90", "--set", "threads=2")
    path = f"{slurm}{os.pathsep}{os.environ['PATH']}"
    done = call(project, "--profile", "slurm", *chosen, PATH=path, DIRECT=shlex.join(chosen))
    assert done.returncode == 0, done.stdout + done.stderr
    assert lines(project) == [
        ["train", "cifar100/alone/resnet32x4", "0", "1"],
        ["table", "cifar100/table-4", "0", "2"],
        ["train", "cifar100/table-4", "0", "3"],
        ["train", "cifar100/table-4", "0", "4"],  # tried again after it had failed
    ]
    jobs = [json.loads((slurm / f"{number}.job").read_text()) for number in (1, 2, 3, 4)]
    assert [value(words, "--comment").split("_")[1] for words in jobs] == ["network", "logits", "cohort", "cohort"]
    asked = {"-A": "physics", "-p": "gpu", "-t": "90", "--mem": "24000", "--cpus-per-task": "2", "--gpus": "1"}
    for words in jobs:
        assert {option: value(words, option) for option in asked} == asked
        assert value(words, "-D") == str(project)
    assert "3 of 3 jobs are done" in done.stdout


@pytest.mark.skipif(" " in sys.executable, reason="Snakemake writes the path of its Python into jobs unquoted")
def test_what_slurm_is_given_runs_on_its_nodes(project: Path, slurm: Path) -> None:
    """The whole chain: sbatch starts Snakemake, which starts the job's step by srun, which runs the job."""
    chosen = ("--set", "tables=[2]", "--set", "pairs=resnet20", "--set", "seeds=1")
    done = call(project, "--profile", "slurm", *chosen, PATH=f"{slurm}{os.pathsep}{os.environ['PATH']}")
    assert done.returncode == 0, done.stdout + done.stderr + "".join(p.read_text() for p in slurm.glob("*.log"))
    assert lines(project) == [["train", STUDENT, "0", "1"]]
    assert "1 of 1 jobs are done" in done.stdout


# --- Kubernetes ------------------------------------------------------------------------------------------------------


RSYNC = """\
# Stands for rsync, which the storage plugin copies with, on machines that lack it.
import shutil, sys
from pathlib import Path
source, target = [word for word in sys.argv[1:] if not word.startswith("-")][-2:]
if Path(source).is_dir():
    shutil.copytree(source, target, dirs_exist_ok=True)
else:
    shutil.copy2(source, target)
"""


def test_kubernetes_gets_a_job_with_what_it_needs(project: Path, tmp_path: Path) -> None:
    pytest.importorskip("snakemake_executor_plugin_kubernetes")
    pytest.importorskip("snakemake_storage_plugin_fs")
    volume = tmp_path / "volume"
    path = project / "workflow" / "profiles" / "kubernetes" / "config.yaml"
    text = path.read_text().replace("YOUR_IMAGE", "an/image:1").replace("/lskd/shared", str(volume / "shared"))
    path.write_text(text.replace("lskd:/lskd", f"lskd:{volume}") + "seconds-between-status-checks: 1\n")
    folders = [f"{key}={volume / key}" for key in ("folder", "runs", "store")]
    words = [word for item in ("tables=[2]", "pairs=resnet20", "seeds=1", *folders) for word in ("--set", item)]
    jobs: dict[str, dict[str, Any]] = {}

    class Cluster(BaseHTTPRequestHandler):
        """The interface of Kubernetes: does a job at once, without the Snakemake that the pod would install."""

        def answer(self, body: object) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if self.path.endswith("/jobs"):
                (container,) = body["spec"]["template"]["spec"]["containers"]
                found = re.search(r"--target-jobs '(\w+):job=(\S+)'", " ".join(container["args"]))
                job = "/".join(found.groups())
                done = call(project, *words, "--job", job)
                mark = Path(f"{volume}/shared{volume}/folder/done/{job}")  # the storage plugin brings it there
                mark.parent.mkdir(parents=True, exist_ok=True)
                mark.touch()
                jobs[body["metadata"]["name"]] = body | {"status": {"failed" if done.returncode else "succeeded": 1}}
            self.answer(body)

        def do_GET(self) -> None:
            none = {"kind": "PodList", "apiVersion": "v1", "items": []}
            self.answer(next((job for name, job in jobs.items() if f"/jobs/{name}" in self.path), none))

        def do_DELETE(self) -> None:
            self.answer({"kind": "Status", "apiVersion": "v1", "status": "Success"})

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Cluster)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    config = {
        "apiVersion": "v1", "kind": "Config", "current-context": "x", "users": [{"name": "u", "user": {}}],
        "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{server.server_address[1]}"}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
    }  # fmt: skip
    (tmp_path / "kube.json").write_text(json.dumps(config))
    commands = tmp_path / "commands"
    commands.mkdir()
    program(commands / "rsync", RSYNC)
    places = {"KUBECONFIG": str(tmp_path / "kube.json"), "PATH": f"{commands}{os.pathsep}{os.environ['PATH']}"}
    done = call(project, "--profile", "kubernetes", *words, **places)
    server.shutdown()
    server.server_close()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 of 1 jobs are done" in done.stdout
    (job,) = jobs.values()
    spec = job["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    assert container["image"] == "an/image:1"
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert container["resources"]["limits"]["memory"] == "24000M"
    assert {m["mountPath"] for m in container["volumeMounts"] if m["name"] == "lskd"} == {str(volume)}
    assert {v["persistentVolumeClaim"]["claimName"] for v in spec["volumes"] if v["name"] == "lskd"} == {"lskd"}


def test_jobs_on_one_machine_take_different_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3, 5")
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    assert gpus() == ["3", "5"]
    code = "import sys\nfrom pathlib import Path\nfrom paper.run_jobs import hold_one_gpu\n"
    code += f"print(hold_one_gpu(Path({str(tmp_path)!r})), flush=True); sys.stdin.readline()\n"
    call = [sys.executable, "-c", code]
    both = [subprocess.Popen(call, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert {child.stdout.readline().strip() for child in both if child.stdout} == {"3", "5"}
    third = subprocess.Popen(call, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    both[0].kill()  # its GPU is free again, however it ends
    both[0].communicate()
    assert third.communicate("\n", timeout=100)[0].strip() in ("3", "5")
    both[1].communicate("\n", timeout=30)
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    assert hold_one_gpu(tmp_path) is None  # the cluster has chosen
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "3, 5"
