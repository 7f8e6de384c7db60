# What the rules share: the grid, its folders, input functions of at most three lines, and what jobs need.
from pathlib import Path

from snakemake.logging import logger

from segshift import grid, lock, row_plan, rows, site, slurm
from segshift.errors import SegShiftError
from segshift.paths import Results
from segshift.tables import plan

RESULTS = Results("results")

# Jobs on compute nodes parse this file again. They read the config that the workflow started with, so that an
# edit, or half an edit, reaches no running workflow.
CONFIG = config.get("folder", "config") if workflow.is_main_process else str(RESULTS.config)
try:
    GRID = grid.read(CONFIG)
    SITE = site.read(Path(workflow.basedir) / "config" / "site.example.yaml", Path(CONFIG) / "site.yaml")
except SegShiftError as error:
    raise WorkflowError(str(error)) from None

# One folder per trained cell; an adapted model lies below its cell and looks the same. What another tool made has
# the tuning `external` and is made by no rule: its scores are there (`segshift score`), or missing.
RUN = "results/runs/{source}/{backbone}/{tuning}/{head}/{seed}"
ADAPTED = f"{RUN}/{{adapt}}/{{target}}"


wildcard_constraints:
    source="[a-z0-9_]+",
    backbone="[a-z0-9_]+",
    tuning="(?!external/)[a-z0-9_]+",
    head="[a-z0-9_]+",
    seed="[0-9]+",
    adapt="[a-z0-9_]+",
    target="[a-z0-9_]+",
    dataset="[a-z0-9_]+",
    weights="[a-z0-9_]+",
    experiment="(?!table_)[a-z0-9_]+",
    origin="[a-z0-9_]+",
    model="(?!([a-z0-9_]+/){2}external/)([a-z0-9_]+/){4}[0-9]+(/[a-z0-9_]+/[a-z0-9_]+)?",


# settings.yaml of every dataset and model. Only a file whose content changed is rewritten: its mtime says what
# to make again. Not beside a running workflow, whose jobs must find what it started with.
if workflow.is_main_process and (LOCK := lock.take(RESULTS.root / ".lock")):
    # Jobs of a killed workflow, if there may be any, end before it is looked what there is to do.
    if RESULTS.slurm.exists() and not workflow.output_settings.dryrun:
        slurm.wait(Path.cwd(), logger.info)
    grid.write_settings(GRID, RESULTS)
    grid.copy_config(CONFIG, RESULTS)
    CHANGED = grid.changed_data(GRID, RESULTS)
    row_plan.write(RESULTS, row_plan.make(GRID, RESULTS, SITE["row"]["heads"], CHANGED))
else:
    CHANGED = grid.changed_data(GRID, RESULTS)
ROWS = row_plan.read(RESULTS)
TABLES = [f"table_{name}" if name in GRID.config.tables else name for name in plan.names(GRID)]
FORMATS = ["csv", "md", "tex", "html"]


def model(wildcards):
    """The model that a job is about, from its wildcards."""
    path = wildcards.get("model") or "/".join(wildcards)
    return grid.Model.parse(path)


def manifests(datasets):
    """Prepared datasets. Ancient, unless an entry changed since it was prepared."""
    files = [f"results/data/{name}/manifest.json" for name in datasets]
    return [file if file in CHANGED else ancient(file) for file in files]


def entry(wildcards):
    """A dataset's settings. The manifest holds those that it was prepared from, so content decides, not mtime.
    Snakemake looks at nothing behind a job that runs though its readers call its output ancient."""
    file = f"results/data/{wildcards.dataset}/settings.yaml"
    return file if f"results/data/{wildcards.dataset}/manifest.json" in CHANGED else ancient(file)


def data(wildcards):
    one = model(wildcards)
    return manifests([one.source, one.target] if one.target else [one.source])


def targets(wildcards):
    return manifests(GRID.targets[wildcards.model])


def target_settings(wildcards):
    return [f"results/data/{name}/settings.yaml" for name in GRID.targets[wildcards.model]]


def asked(wildcards):
    """What `evaluate` is told: the targets, and what to compute where project.yaml asks for more than Dice and IoU.
    Where it does not, these are the targets alone, as before: nothing that is scored is scored again."""
    anatomy = GRID.config.datasets[model(wildcards).source].anatomy
    return " ".join([*GRID.targets[wildcards.model], *GRID.config.project.evaluation.asked(anatomy).words])


def weights(wildcards):
    return [f"results/weights/{name}" for name in GRID.weights(model(wildcards))]


def row(wildcards):
    """The marker of a row. An input whether there are rows or not, so that to switch them re-runs nothing."""
    one = model(wildcards)
    return ancient(str(row_plan.marker(RESULTS, one.path))) if row_plan.marked(GRID, one) else []


def attempt_of(wildcards, attempt):
    return attempt


def data_of(row):
    one = grid.Model.parse(row.models[0])
    return manifests([one.source, one.target] if one.target else [one.source])


def weights_of(row):
    """Of the backbone, and what all heads of the row wait for: no head is kept by what another one needs."""
    backbone = GRID.config.backbones[grid.Model.parse(row.models[0]).backbone].weights
    return [f"results/weights/{name}" for name in dict.fromkeys([*filter(None, [backbone]), *row.weights])]


def scores_of(experiment):
    return [f"results/runs/{path}/scores.csv" for path in GRID.scored(experiment)]


def shown(wildcards):
    return plan.experiment_digest(GRID, wildcards.experiment)


def tabulated(numbers):
    """What tables of tables.yaml are made of."""
    made = plan.needs(GRID, numbers)
    files = [f"{name}.synced" for name in made.experiments] + [f"{name}.imported" for name in made.origins]
    return [f"results/tracking/{file}" for file in files] + manifests(made.datasets)


def gpus(wildcards):
    """One, except on this machine if it has none: then trainings need not wait for each other."""
    return 0 if workflow.local_exec and not site.local_gpu() else 1


def needs(rule):
    """What a job of this rule asks of the machine."""
    asked = site.needs(SITE, rule)
    return asked | ({"gpu": gpus} if asked.get("gpu") else {})
