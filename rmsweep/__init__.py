"""Reproducible experiment sweeps in reward modelling over cached embeddings."""

__version__ = "0.1.0"
