"""What state a grid is in: its cells, their logs, why they would be made again, what they cost. Never torch."""
