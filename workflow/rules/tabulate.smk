# Reads the numbers back from MLflow, and refuses where they differ from the score files. Another title, label or
# choice of known scores changes no score file, so the table itself must notice.
rule tabulate:
    input:
        "results/tracking/{experiment}.synced",
    output:
        multiext("results/tables/{experiment}", ".csv", ".md", ".tex", ".html"),
    log:
        "results/tables/{experiment}.log",
    params:
        shown=shown,
    shell:
        "exec segshift tabulate {wildcards.experiment} --config results/.config > {log} 2>&1"


# The same for tables of tables.yaml: those of the same experiments in one job.
for JOB, NUMBERS in plan.jobs(GRID).items():

    rule:
        name:
            JOB
        input:
            tabulated(NUMBERS),
        output:
            expand("results/tables/table_{number}.{ending}", number=NUMBERS, ending=FORMATS),
        log:
            f"results/tables/{JOB}.log",
        localrule: True
        params:
            numbers=NUMBERS,
            shown=[plan.digest(GRID, number) for number in NUMBERS],
        shell:
            "exec segshift tabulate {params.numbers} --config results/.config > {log} 2>&1"


# Scores from elsewhere into MLflow, for tables that show them beside ours.
rule import_runs:
    input:
        f"{CONFIG}/{{origin}}/runs.csv",
    output:
        "results/tracking/{origin}.imported",
    log:
        "results/tracking/{origin}.imported.log",
    shell:
        "exec segshift import-runs {input} --origin {wildcards.origin} --out {output} --config results/.config"
        " > {log} 2>&1"
