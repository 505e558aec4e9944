"""Reproducible experiment sweeps in reward modelling over cached embeddings."""

from collections.abc import Sequence

__version__ = "0.1.0"


def load(  # type: ignore[no-untyped-def]
    name: str,
    key: str | None = None,
    *,
    columns: list[str] | None = None,
    config_dirs: Sequence[str] = (),
):
    """Return the done runs of sweep `name` in outputs/, a row a key: rmsweep.results.dataset.load.

    With a key, return that run's reward model, saved by save_model=true, with predict(embeddings):
    rmsweep.training.saved_models. config_dirs: where the yaml of a reward model of your own is.
    """
    if key is None:
        from rmsweep.results import dataset

        return dataset.load(name, columns)
    from rmsweep.training import saved_models

    return saved_models.load_model(name, key, config_dirs)
