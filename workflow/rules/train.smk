# Data and weights are ancient: what decides a model stands in settings.yaml, so no copied disk, new mtime or
# repeated preparation costs a GPU-week. A new input here would train every model again (`snakemake --touch`).
rule train:
    input:
        settings=f"{RUN}/settings.yaml",
        data=data,
        weights=ancient(weights),
        row=row,
    output:
        model=f"{RUN}/model.ckpt",
        lowest_loss=f"{RUN}/lowest_loss.ckpt",
        run=f"{RUN}/run.json",
    log:
        f"{RUN}/train.log",
    threads: SITE["train"]["threads"]
    resources:
        **needs("train"),
    shell:
        "exec segshift train $(dirname {output.model}) --workers {resources.workers} > {log} 2>&1"
