"""Reproducible experiment sweeps in reward modelling over cached embeddings."""

__version__ = "0.1.0"


def load(name: str, key: str | None = None, *, columns: list[str] | None = None):  # type: ignore[no-untyped-def]
    """The done runs of sweep `name` in outputs/, a row a key; see rmsweep.results.dataset.load.

    With a key, that run's reward model, saved by save_model=true, and its predict(embeddings); see
    rmsweep.training.saved_models.
    """
    if key is None:
        from rmsweep.results import dataset

        return dataset.load(name, columns)
    from rmsweep.training import saved_models

    return saved_models.load(name, key)
