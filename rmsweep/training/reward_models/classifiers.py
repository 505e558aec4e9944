"""Classifiers of scikit-learn as reward models, on single responses."""

import warnings
from typing import Any

import numpy as np
from scipy.special import logit
from sklearn.exceptions import ConvergenceWarning
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from rmsweep.cache.inputs import Inputs
from rmsweep.config.launchers import Place
from rmsweep.config.reward_models import Classifier
from rmsweep.config.spec import RunSpec
from rmsweep.config.targets import new_object
from rmsweep.training.reward_models.interface import Array, RewardModel

LEAST_PROBABILITY = 1e-12  # where predict_proba says 0 or 1; beyond it rewards tie


def fit_classifier(
    embeddings: np.ndarray, pairs: np.ndarray, *, estimator: dict[str, Any], seed: int
) -> Pipeline:
    """Fit the estimator that tells chosen from rejected ones, on standardised embeddings.

    embeddings: (responses, D) float16 or float32; pairs: (rows, 2) response indices, chosen first.
    estimator: {_target_: a class of scikit-learn's kind, option: value, ...}; a random_state that
    it has is the seed. Each dimension gets mean 0 and standard deviation 1 over the rows fitted.
    On one thread, since sums over more would depend on their number. Not converged is an error.
    """
    x = np.asarray(embeddings[pairs.T.reshape(-1)], dtype=np.float64)
    model: Any = new_object(estimator, "loss.estimator")
    if "random_state" in model.get_params():
        model.set_params(random_state=seed)
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        return make_pipeline(StandardScaler(copy=False), model).fit(
            x, np.repeat([True, False], len(pairs))
        )


def predict_classifiers(models: list[Pipeline], x: np.ndarray) -> np.ndarray:
    """Predict rewards, the log-odds of "was chosen": (runs, rows) float64, of x (rows, D)."""
    with threadpool_limits(1):
        return np.stack([_log_odds(model, x.astype(np.float64)) for model in models])


def _log_odds(model: Pipeline, x: np.ndarray) -> np.ndarray:
    """Return decision_function where there is one, else the logit of predict_proba."""
    if hasattr(model, "decision_function"):
        return model.decision_function(x)
    probability = model.predict_proba(x)[:, 1]
    return logit(np.clip(probability, LEAST_PROBABILITY, 1 - LEAST_PROBABILITY))


class Classifiers(RewardModel):
    """The kind of scikit-learn's classifiers. A model is a Pipeline, which is not saved."""

    def fit_one(
        self, spec: RunSpec, x: Array, pairs: np.ndarray, inputs: Inputs, place: Place
    ) -> Pipeline:
        assert isinstance(spec.loss.options, Classifier)
        estimator = spec.loss.options.estimator
        return fit_classifier(np.asarray(x), pairs, estimator=estimator, seed=spec.seed)

    def predict(self, stacked: Any, x: Array, spec: RunSpec, place: Place) -> Array:
        return predict_classifiers(stacked, np.asarray(x))


REWARD_MODEL = Classifiers()
