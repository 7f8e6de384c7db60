# Models that wait and stand on one frozen backbone, trained from one pass of it. An accelerator, never a condition:
# the only outputs are the markers of these models, and whatever a row leaves is trained by a job of its own. It needs
# nothing that each of its models does not need. A row that dies becomes smaller, and at its last try it leaves all.
for ROW, MODELS in ROWS.items():

    rule:
        name:
            ROW
        input:
            data=data_of(MODELS),
            weights=ancient(weights_of(MODELS)),
            sources=ancient([str(row_plan.marker(RESULTS, path)) for path in MODELS.sources]),
        output:
            touch([str(row_plan.marker(RESULTS, path)) for path in MODELS.models]),
        log:
            f"results/rows/{ROW}.log",
        retries: rows.TRIES - 1
        threads: SITE["row"]["threads"]
        resources:
            **needs("row"),
            attempt=attempt_of,
        params:
            verb=MODELS.verb,
            cells=MODELS.models,
            heads=SITE["row"]["heads"],
        shell:
            "exec segshift {params.verb} {params.cells} --row results/rows/wanted --score results/.config"
            " --heads {params.heads} --workers {resources.workers} --attempt {resources.attempt} > {log} 2>&1"
