"""How a grid is doing: states of cells, logs, why one would be made again, costs. Never torch."""
