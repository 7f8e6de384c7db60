"""Where a browser finds MLflow's pages of runs, for the links of HTML tables."""

from segshift import tracking
from segshift.grid import Grid
from segshift.mlflow_store import Store
from segshift.saved_view import HOST, PORT
from segshift.tables.html import Pages


def link(grid: Grid, store: Store) -> Pages | None:
    """Pages at ``tracking: address`` of project.yaml, at the tracking server, or those of `segshift ui`.

    The last show a database on this machine, while somebody runs it, which the tables then say. None: MLflow
    is a database that no page is known of.
    """
    address, hint = grid.config.project.tracking.address, ""
    if not address and store.uri.startswith(("http://", "https://")):
        address = tracking.shown(store.uri)
    if not address and tracking.database(store.uri):
        address = f"http://{HOST}:{PORT}"
        hint = f"A number links to its runs in MLflow, at {address} while segshift ui runs."
    return Pages(address, store.experiment, hint) if address else None
