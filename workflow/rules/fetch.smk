# Weights, checked against the sha256 of their entry. On the submitting host: compute nodes may lack internet.
rule fetch:
    output:
        "results/weights/{weights}",
    log:
        "results/weights/{weights}.log",
    shell:
        "exec segshift fetch {wildcards.weights} --config results/.config > {log} 2>&1"
