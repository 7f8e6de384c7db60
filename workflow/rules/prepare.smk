# Raw data is read here and nowhere else.
rule prepare:
    input:
        entry,
    output:
        train="results/data/{dataset}/train.h5",
        validation="results/data/{dataset}/validation.h5",
        test="results/data/{dataset}/test.h5",
        manifest="results/data/{dataset}/manifest.json",
        quality=expand("results/data/{{dataset}}/quality.{ending}", ending=["html", "json"]),
    log:
        "results/data/{dataset}/prepare.log",
    threads: SITE["prepare"]["threads"]
    resources:
        **needs("prepare"),
    shell:
        "exec segshift prepare {wildcards.dataset} --config results/.config --workers {threads} > {log} 2>&1"
