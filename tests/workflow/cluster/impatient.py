"""The command `snakemake` as the tests on a cluster have it: it looks at its jobs every two seconds.

By itself Snakemake's executor looks after forty seconds, and ten seconds later each time nothing has ended.
On a cluster that is right; here it would be most of the time.
"""

import sys

from snakemake.cli import main
from snakemake_executor_plugin_slurm import Executor

from segshift import slurm

EVERY = 2

if __name__ == "__main__":
    Executor.next_seconds_between_status_checks = property(lambda _: EVERY, lambda _, asked: None)
    slurm.wait.__defaults__ = (EVERY,)
    patience = ["--slurm-init-seconds-before-status-checks", str(EVERY), "--latency-wait", "20"]
    main([*sys.argv[1:], *patience])
