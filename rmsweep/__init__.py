"""Reproducible experiment sweeps in reward modelling over cached embeddings."""

__version__ = "0.1.0"


def load(name: str, columns: list[str] | None = None):
    """The done runs of sweep `name` in outputs/, a row a key; see rmsweep.results.load."""
    from rmsweep import results

    return results.load(name, columns)
