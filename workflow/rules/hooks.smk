# Hooks run in the workflow's own process only: not in a dry run, not in jobs, not when nothing is to be done.
import subprocess


def lost_inputs():
    """Data or weights that are gone though finished models used them: making them here would train those again."""
    for job in workflow.dag.needrun_jobs():
        lost = [file for file in workflow.dag.reason(job).updated_input_run if file.is_ancient]
        lost = [file for file in lost if not file.startswith(f"{RESULTS.rows}/")]  # only of models that wait
        if lost and job.rule.name in ("train", "adapt") and Path(job.output[0]).exists():
            yield from lost


def from_before_rows():
    """Finished models that have to run again for nothing but a marker that was no input of theirs, and which are
    not kept ready, so that they would be trained."""
    for job in workflow.dag.needrun_jobs():
        if job.rule.name in ("train", "adapt") and Path(job.output[0]).exists():
            why, folder = workflow.dag.reason(job), Path(job.output[0]).parent
            new = why.input_changed and not (why.updated_input or why.updated_input_run or why.forced)
            if new and not (folder / "resume" / "ready" / "run.json").exists():
                yield str(folder)


onstart:
    if not LOCK:
        raise WorkflowError(f"Another workflow works here: {(RESULTS.root / '.lock').read_text()}.")
    if lost := sorted(set(lost_inputs())):
        raise WorkflowError(f"Finished models would be trained again. First: snakemake {' '.join(lost)}")
    if not workflow.touch and (older := list(from_before_rows())):
        raise WorkflowError(
            f"{len(older)} finished models would be trained again, such as {older[0]}: they were made before rows had"
            " markers. To keep all that is there: snakemake --touch"
        )
    if subprocess.run(["segshift", "check", "--config", str(RESULTS.config)]).returncode:
        raise WorkflowError("Nothing was started.")
    training = [job for job in workflow.dag.needrun_jobs() if job.rule.name in ("train", "adapt")]
    row_plan.want(RESULTS, ["/".join(job.wildcards) for job in training])
    # The follower sends curves to MLflow while jobs run. It ends when its stdin closes, which the kernel does even
    # if Snakemake is killed.
    RESULTS.tracking.mkdir(parents=True, exist_ok=True)
    with open(RESULTS.tracking / "follow.log", "a") as log:
        globals()["FOLLOWER"] = subprocess.Popen(
            ["segshift", "track", "--follow", "--config", str(RESULTS.config)],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


onerror:
    shell("segshift track --config results/.config || true")
    shell("segshift tabulate --partial --config results/.config || true")
    failed = (
        [f"{job.rule.name}={job.log}" for job in workflow.scheduler.failed] if workflow.scheduler else []
    )
    shell("segshift status --failed " + " ".join(failed))
