# The jobs of a plan of workflow/tables/, many at once: which runs, and what those share (paper/jobs.py). By hand:
#   lskd plan                                      what would be done, and what it costs
#   lskd run --profile slurm [--set tables=[1]]
#   snakemake --profile workflow/profiles/slurm tables
#
# A job is done when its run has a record. Its file below `done` is for Snakemake alone and made anew in every call: jobs
# that are done are not in the graph at all. A job that is stopped goes on from its newest checkpoint in the next call.
import json
import os
import shlex
import sys
from pathlib import Path

TABLES_ROOT = Path(workflow.basedir).parent
sys.path.insert(0, str(TABLES_ROOT))

from lskd.checked import parse_settings
from paper import plan, run_jobs

TABLES_NAME, TABLES_CHANGES = run_jobs.of_config(config)
TABLES_PLAN = plan.load(TABLES_NAME, parse_settings(TABLES_CHANGES), root=TABLES_ROOT)
TABLES_DONE = f"{TABLES_PLAN.folder}/done"
TABLES_CALL = shlex.join(run_jobs.command(TABLES_NAME, TABLES_CHANGES))
TABLES_JOBS = {}  # made when a rule below is asked for: the book does not need them
os.environ["LSKD_WORKFLOW_PID"] = str(os.getpid())  # jobs end when the Snakemake that started them is no longer there


def tables_jobs():
    """All jobs by name, and the names of those that are left."""
    if not TABLES_JOBS:
        from paper import jobs

        listed = jobs.make(TABLES_PLAN)
        open_ = run_jobs.left(listed, run_jobs.runs_of(TABLES_PLAN, listed))
        TABLES_JOBS.update(all={job.name: job for job in listed}, left=[job.name for job in open_])
    return TABLES_JOBS


def tables_files(names):
    return [f"{TABLES_DONE}/{name}" for name in names if name in tables_jobs()["left"]]


def tables_after(kind):
    return lambda wildcards: [ancient(f) for f in tables_files(tables_jobs()["all"][f"{kind}/{wildcards.job}"].after)]


def tables_minutes(kind):
    return lambda wildcards: run_jobs.asked_minutes(TABLES_PLAN, tables_jobs()["all"][f"{kind}/{wildcards.job}"], TABLES_ROOT)


localrules:
    tables,


rule tables:
    message:
        "tables: all jobs are done"
    input:
        lambda wildcards: tables_files(tables_jobs()["left"]),


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
            touch(f"{TABLES_DONE}/{tables_kind}/{{job}}"),
        threads: TABLES_PLAN.threads
        resources:
            gpu=0 if TABLES_PLAN.device == "cpu" else 1,
            mem_mb=TABLES_PLAN.memory_mb,
            runtime=tables_minutes(tables_kind),
        shell:
            "{TABLES_CALL} --job {rule}/{wildcards.job:q}"
