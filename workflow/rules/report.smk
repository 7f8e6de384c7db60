# One page for people.
rule report:
    input:
        expand("results/tables/{table}.html", table=TABLES),
    output:
        "results/report.html",
    log:
        "results/report.log",
    shell:
        "exec segshift report --config results/.config > {log} 2>&1"
