"""The report: one HTML file with everything a grid's results say, each number with the way to its cell."""
