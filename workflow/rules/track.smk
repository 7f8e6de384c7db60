# Everything that a table needs is in MLflow, complete, once.
rule track:
    input:
        lambda wildcards: scores_of(wildcards.experiment),
    output:
        "results/tracking/{experiment}.synced",
    log:
        "results/tracking/{experiment}.log",
    shell:
        "exec segshift track {wildcards.experiment} --config results/.config --out {output} > {log} 2>&1"
