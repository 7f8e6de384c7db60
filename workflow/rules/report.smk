# Pictures for papers, and one page for people.
from segshift.figures import entries as figures

try:
    FIGURES = figures.read(CONFIG, GRID)
except SegShiftError as error:
    raise WorkflowError(str(error)) from None


def drawn_from(wildcards):
    """What a figure shows. Weights are ancient: which they are stands in run.json."""
    made = figures.needs(FIGURES[wildcards.figure], GRID)
    files = [f"results/runs/{path}/run.json" for path in made.models]
    files += [f"results/runs/{path}/scores.csv" for path in made.scored]
    return files + manifests(made.datasets) + [ancient(f"results/weights/{name}") for name in made.weights]


def drawn_as(wildcards):
    return FIGURES[wildcards.figure].model_dump_json()


rule figure:
    input:
        drawn_from,
    output:
        multiext("results/figures/figure_{figure}", ".svg", ".pdf", ".png", ".txt"),
    log:
        "results/figures/figure_{figure}.log",
    wildcard_constraints:
        figure="[A-Za-z0-9_.]+",
    threads: SITE["evaluate"]["threads"]
    resources:
        **needs("evaluate"),
    params:
        shown=drawn_as,
    shell:
        "exec segshift figures {wildcards.figure} --config results/.config > {log} 2>&1"


# All of figures.yaml, also those that `all` leaves out.
rule figures:
    input:
        expand("results/figures/figure_{figure}.png", figure=FIGURES),
    localrule: True


rule report:
    input:
        expand("results/tables/{table}.html", table=TABLES),
        expand("results/figures/figure_{figure}.png", figure=figures.usual(FIGURES, GRID)),
    output:
        "results/report.html",
    log:
        "results/report.log",
    shell:
        "exec segshift report --config results/.config > {log} 2>&1"
