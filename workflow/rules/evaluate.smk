# One job a model, all its targets; what was scored before with the same weights and data is not computed again.
# One rule for trained and adapted models: their folders look alike.
rule evaluate:
    input:
        run="results/runs/{model}/run.json",
        model=ancient("results/runs/{model}/model.ckpt"),
        settings=target_settings,
        data=targets,
        weights=ancient(weights),
    output:
        "results/runs/{model}/scores.csv",
    log:
        "results/runs/{model}/evaluate.log",
    threads: SITE["evaluate"]["threads"]
    resources:
        **needs("evaluate"),
    params:
        targets=asked,
    shell:
        "exec segshift evaluate results/runs/{wildcards.model} {params.targets} --config results/.config > {log} 2>&1"
