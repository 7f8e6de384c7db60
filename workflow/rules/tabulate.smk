# Reads the numbers back from MLflow, and refuses where they differ from the score files. Another title, label or
# choice of known scores changes no score file, so the table itself must notice.
rule tabulate:
    input:
        "results/tracking/{experiment}.synced",
    output:
        "results/tables/{experiment}.csv",
        "results/tables/{experiment}.md",
    log:
        "results/tables/{experiment}.log",
    params:
        shown=shown,
    shell:
        "exec segshift tabulate {wildcards.experiment} --config results/.config > {log} 2>&1"


# The same for a table of tables.yaml.
rule table:
    input:
        tabulated,
    output:
        multiext("results/tables/table_{number}", ".csv", ".md", ".tex", ".html"),
    log:
        "results/tables/table_{number}.log",
    params:
        shown=lambda wildcards: GRID.table_digest(wildcards.number),
    shell:
        "exec segshift tabulate {wildcards.number} --config results/.config > {log} 2>&1"
