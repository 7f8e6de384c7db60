# One page for people.
rule report:
    input:
        expand("results/tables/{experiment}.csv", experiment=GRID.built),
    output:
        "results/report.html",
    log:
        "results/report.log",
    shell:
        "exec segshift report --config results/.config > {log} 2>&1"
