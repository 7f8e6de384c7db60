"""Figures for papers: named in ``figures.yaml``, each written as SVG, PDF and PNG."""
