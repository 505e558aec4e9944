"""Does the MLP's Bradley-Terry reward converge? arXiv:2411.04991 (RBT), Theorem 20, Corollary 7.

What limits it on synthetic data is computed from how cache/synthetic.py makes its golden rewards.
"""

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter
from scipy import special

from rmsweep.analysis import theory
from rmsweep.analysis.bootstrap import bootstrap_means, percentile_interval
from rmsweep.analysis.figures import panels, shown_runs
from rmsweep.analysis.figures.theory import HEIGHT_IN, SERIES, log_x, name_axes
from rmsweep.cache.synthetic import CURVED, INTERACTION, LINEAR, N_CURVED, UNEXPLAINED
from rmsweep.errors import MissingData


def theory_convergence(rows: pd.DataFrame, rng: np.random.Generator) -> Figure:
    """Draw truncated KL risk and margin error against pairs (RBT, Theorem 20 and Corollary 7).

    rows: of sweeps/theory_convergence.yaml, or of any dataset. Lines are means over seeds, bands
    bootstrap intervals. Part of the golden reward is not in the synthetic embedding, so even the
    probability given the embeddings has a risk and an error (`synthetic_limits`). The risk is drawn
    above that, which is the theorem's own risk, by E KL(p0, p) = E KL(p0, E p0) + E KL(E p0, p),
    exactly but for truncation. Of other data these limits are not known. Thin lines have the slope
    of the theorem's rate, for smoothness 2 and alpha 1, which are assumed; their height means
    nothing.
    """
    wanted, rows = rows, _convergence_rows(rows)
    is_synthetic = bool(rows["spread"].notna().any())
    figure, (above, below) = panels.panels(2, HEIGHT_IN)
    for (colour, line, marker), (beta, part) in zip(
        itertools.cycle(SERIES), rows.groupby("annotation.beta"), strict=False
    ):
        style = {"color": colour, "ls": line, "marker": marker, "label": f"β = {beta:g}"}
        risk_limit = 0.0
        if is_synthetic:
            risk_limit, error_limit = synthetic_limits(part["spread"].iloc[0])
            below.axhline(error_limit, color=colour, lw=0.8, ls=":")
        _over_quantity(above, part, part["kl_risk"] - risk_limit, style, rng)
        _over_quantity(below, part, part["margin_error"], style, rng)
    dims = _dimensions(rows)
    _draw_slopes(above, np.sort(rows["quantity"].unique()), dims)
    name_axes(above, "annotated pairs", f"KL risk R_B{' above its limit' * is_synthetic} (nats)")
    name_axes(below, "annotated pairs", "mean |Δr − Δr̂|" + " (dotted: its limit)" * is_synthetic)
    for ax in (above, below):
        log_x(ax, "{x:,.0f}")
    above.set_yscale("log")
    above.yaxis.set_major_formatter("{x:g}")
    above.yaxis.set_minor_formatter(NullFormatter())
    caption = _caption(rows, list(dims), is_synthetic)
    return panels.finish(figure, [], [caption, *shown_runs.missing_line(wanted)])


def _caption(rows: pd.DataFrame, kinds: list[str], is_synthetic: bool) -> str:
    """What the figure shows; kinds: of dimensions that slopes are drawn for."""
    n_seeds = rows.groupby(["annotation.beta", "quantity"])["seed"].nunique()
    seeds = "–".join(str(n) for n in sorted({n_seeds.min(), n_seeds.max()}))
    meaning = {
        "ambient": "the number of values of one response's embedding (ambient)",
        "intrinsic": "of the two latents, its prompt's and its own, that it is made of (intrinsic)",
    }
    limits = (
        " Limits: of the probability given the embeddings, which do not hold all of the golden "
        "reward."
    )
    return (
        f"Convergence of an MLP's Bradley-Terry reward (RBT, Theorem 20 and Corollary 7). {seeds} "
        "seeds; bands: 95 % intervals, bootstrap over seeds. Grey: the slope of the theorem's rate "
        "at some height, for smoothness 2 and α = 1, which are assumed. d is "
        f"{', or '.join(meaning[kind] for kind in kinds)}." + limits * is_synthetic
    )


def _dimensions(rows: pd.DataFrame) -> dict[str, int]:
    """Return the dimension of one response's embedding: ambient, and intrinsic where it is known.

    A synthetic embedding without noise is a linear map of two latents, the prompt's and the
    response's, of intrinsic_dim each. Of other data no estimate is made.
    """
    if rows["spread"].isna().all():
        return {"ambient": int(rows["dim"].max())}
    first = rows.iloc[0]
    dims = {"ambient": int(first["dataset.synthetic.dim"])}
    if first["dataset.synthetic.noise"] == 0:
        dims["intrinsic"] = 2 * int(first["dataset.synthetic.intrinsic_dim"])
    return dims


def _draw_slopes(ax: Axes, quantity: np.ndarray, dims: Mapping[str, int]) -> None:
    """Draw the slope of the theorem's rate for each dimension, from the top of the panel."""
    highest = ax.get_ylim()[1]
    for dash, (kind, dim) in zip(("-", "--"), dims.items(), strict=False):
        rate = theory.convergence_rate(quantity, smoothness=2, alpha=1, dim=dim)
        label = f"slope of the bound, d = {dim} ({kind})"
        ax.plot(quantity, rate / rate[0] * highest, color="0.5", lw=0.8, ls=dash, label=label)


def _convergence_rows(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with a risk, and `spread`: beta * within_std / reward_scale, nan of other data."""
    within, scale = "dataset.synthetic.within_std", "dataset.reward_scale"
    rows = rows.dropna(subset=["kl_risk", "margin_error"])
    scales = pd.to_numeric(rows[scale], errors="coerce")  # "std" is none
    is_one = (rows[["loss", within, scale]].nunique(dropna=False) == 1).all()
    is_unknown = rows[within].notna() & scales.isna()
    if not is_one or is_unknown.any() or rows["quantity"].nunique() < 2:
        raise MissingData(
            "runs of one loss on one dataset at two quantities, if it is synthetic with a number "
            "as reward_scale, such as sweeps=theory_convergence"
        )
    if others := shown_runs.facets(rows, ["annotation.beta", "quantity"]):
        raise MissingData(f"runs with one {' and one '.join(others)}; --where selects them")
    return rows.assign(spread=rows["annotation.beta"] * rows[within] / scales)


def synthetic_limits(spread: float) -> tuple[float, float]:
    """Return KL risk and mean margin error of the probability given synthetic embeddings.

    spread: beta * within_std / reward_scale. Of a same-prompt margin's variance, 2 spread^2, the
    share UNEXPLAINED is Gaussian and independent of the embedding: u. The rest, a, is Gaussian
    (LINEAR and INTERACTION) plus the curved part: two squared normals less two others, which is
    Laplace. The probability is p = E sigmoid(a + u) given a. No model has a lower risk than the
    mean KL of sigmoid(a + u) from p; truncation makes little difference to it. The error is that of
    logit p, to which a Bradley-Terry reward tends; it is above the least possible, E|u|.
    """
    assert N_CURVED == 2, "the curved part is Laplace only then"
    edges = np.linspace(-12, 12, 2401)
    gaussian = theory.FAMILIES["Gaussian"](edges / np.sqrt(2 * (LINEAR + INTERACTION)))
    curved = theory.FAMILIES["Laplace"](edges / np.sqrt(2 * CURVED))
    masses = np.convolve(np.diff(gaussian), np.diff(curved))
    explained = np.linspace(-24 + 0.01, 24 - 0.01, len(masses))
    u = np.sqrt(2 * UNEXPLAINED) * special.ndtri((np.arange(400) + 0.5) / 400)
    p = special.expit(spread * (explained[:, None] + u))
    kl = special.entr(p.mean(axis=1)) - special.entr(p).mean(axis=1)
    kl += special.entr(1 - p.mean(axis=1)) - special.entr(1 - p).mean(axis=1)
    # logit E sigmoid(a + u), as if -u were an opponent
    estimate = theory.classification_reward(spread * explained, -spread * u)
    error = np.abs(spread * (explained[:, None] + u) - estimate[:, None]).mean(axis=1)
    return float(masses @ kl), float(masses @ error)


def _over_quantity(
    ax: Axes, rows: pd.DataFrame, values: pd.Series, style: dict[str, Any], rng: np.random.Generator
) -> None:
    """Mean over seeds with its interval, against quantity; the same draws of seeds for all."""
    table = rows.assign(value=values).pivot_table("value", "seed", "quantity")
    matrices = [table[[n]].to_numpy() for n in table]
    ends = percentile_interval(bootstrap_means(matrices, [0] * len(matrices), rng))
    ax.fill_between(table.columns, *ends, color=style["color"], alpha=0.25, lw=0)
    ax.plot(table.columns, table.mean(), **style)
