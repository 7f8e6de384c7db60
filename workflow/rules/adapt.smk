# run.json is small, so Snakemake compares its content: it changes when the source model was trained again.
rule adapt:
    input:
        settings=f"{ADAPTED}/settings.yaml",
        source=f"{RUN}/run.json",
        model=ancient(f"{RUN}/model.ckpt"),
        data=data,
        weights=ancient(weights),
        row=row,
    output:
        model=f"{ADAPTED}/model.ckpt",
        run=f"{ADAPTED}/run.json",
    log:
        f"{ADAPTED}/adapt.log",
    threads: SITE["adapt"]["threads"]
    resources:
        **needs("adapt"),
    shell:
        "exec segshift adapt $(dirname {output.model}) --workers {resources.workers} > {log} 2>&1"
