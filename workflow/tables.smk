# The paper's tables: which runs they need, and what those share (paper/jobs.py). By hand:
#   lskd plan                                      what would be done, and what it costs
#   lskd tables [--set tables=[1]] [--profile slurm]
#   snakemake --profile workflow/profiles/slurm tables
#
# A job is named by all that decides it, and ends with a file of that name: nothing is done again because a date has
# changed. A job that is stopped goes on from its newest checkpoint when it is started again.
import json
import os
import sys
from pathlib import Path

TABLES_ROOT = Path(workflow.basedir).parent
sys.path.insert(0, str(TABLES_ROOT))

from paper import run_jobs

TABLES_FOLDER = run_jobs.folder_of(TABLES_ROOT, config)
TABLES_PYTHON = sys.executable
TABLES_PLAN = {}  # made when a rule below is asked for: the book does not need it
os.environ["LSKD_WORKFLOW_PID"] = str(os.getpid())  # jobs end when the Snakemake that started them is no longer there


def tables_plan():
    if not TABLES_PLAN:
        TABLES_PLAN.update(run_jobs.opened(TABLES_ROOT, config))
    return TABLES_PLAN


def tables_wanted(key):
    return lambda wildcards: tables_plan()["wanted"][key]


def tables_of(kind):
    """From wildcards to the job of that kind."""

    def find(wildcards):
        return next(job for job in tables_plan()["jobs"] if job["name"] == f"{kind}/{wildcards.job}")

    return find


def tables_markers(wildcards):
    """What says that all jobs have ended well, without those that this version cannot run."""
    return [f"{TABLES_FOLDER}/done/{job['name']}.json" for job in tables_plan()["jobs"] if not job["obstacles"]]


def tables_after(kind):
    find = tables_of(kind)
    return lambda wildcards: [ancient(f"{TABLES_FOLDER}/done/{name}.json") for name in find(wildcards)["after"]]


def tables_minutes(kind):
    find = tables_of(kind)
    return lambda wildcards: find(wildcards)["minutes"]


def tables_gpus(wildcards):
    return 0 if tables_plan()["wanted"]["device"] == "cpu" else 1


localrules:
    tables,
    jobs,
    tables_page,


rule tables:
    message:
        "tables: everything is up to date"
    input:
        f"{TABLES_FOLDER}/paper_tables.ipynb",


rule jobs:
    message:
        "jobs: all are done"
    input:
        tables_markers,


# What an endless list of jobs does first decides how soon others can start: teachers, then their tables.
for tables_kind, tables_priority in (("network", 3), ("logits", 2), ("cohort", 1)):

    rule:
        name:
            tables_kind
        message:
            "{rule}/{wildcards.job}"
        priority: tables_priority
        input:
            tables_after(tables_kind),
        output:
            f"{TABLES_FOLDER}/done/{tables_kind}/{{job}}.json",
        params:
            folder=TABLES_FOLDER,
        threads: tables_wanted("threads")
        resources:
            gpu=tables_gpus,
            mem_mb=tables_wanted("memory_mb"),
            runtime=tables_minutes(tables_kind),
        shell:
            "{TABLES_PYTHON:q} -m lskd.cli tables --job {rule}/{wildcards.job:q} --folder {params.folder:q} --mark {output:q}"


rule tables_page:
    message:
        "tables: drawn from all records that there are"
    input:
        tables_markers,
    output:
        f"{TABLES_FOLDER}/paper_tables.ipynb",
    params:
        store=tables_wanted("store"),
        figures=f"{TABLES_FOLDER}/paper_tables",
    shell:
        "{TABLES_PYTHON:q} -m lskd.cli notebook run paper_tables -o {output:q}"
        " -p records {params.store:q} -p output {params.figures:q}"
