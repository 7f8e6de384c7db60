# SegShift: from raw data to every table of the paper. Plain `snakemake` builds all of it.
from snakemake.utils import min_version

min_version("9.20")


include: "workflow/rules/common.smk"
include: "workflow/rules/fetch.smk"
include: "workflow/rules/prepare.smk"
include: "workflow/rules/row.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/adapt.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/track.smk"
include: "workflow/rules/tabulate.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/hooks.smk"


localrules:
    all,
    fetch,
    track,
    tabulate,
    import_runs,
    report,


rule all:
    default_target: True
    input:
        # Scores too: Snakemake misses a deleted file only where it is an input of the target itself.
        [scores_of(experiment) for experiment in plan.built(GRID)],
        expand("results/tables/{table}.{ending}", table=TABLES, ending=FORMATS),
        "results/report.html",
