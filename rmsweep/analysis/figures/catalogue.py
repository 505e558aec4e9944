"""The figures by name: the module that draws it, and a line for --help."""

import importlib
import inspect
from typing import Any

FIGURES = {
    "fig1": ("rbt_losses", "improvement by base LLM"),
    "fig2": ("rbt_losses", "golden reward against the annotation error rate"),
    "fig3": ("rbt_losses", "golden reward against quantity"),
    "fig4": ("rbt_pairings", "same- against cross-prompt annotation, random selection"),
    "fig5": ("rbt_pairings", "same- against cross-prompt annotation, similar and diversified"),
    "fig6": (
        "rbt_margins",
        "the same-prompt pairs' mean golden margin against what cross-prompt yields",
    ),
    "fig8": ("rbt_losses", "Fig. 2 at every quantity, first dataset"),
    "fig9": ("rbt_losses", "Fig. 2 at every quantity, second dataset"),
    "fig10": ("rbt_losses", "Fig. 3 at every beta, first dataset"),
    "fig11": ("rbt_losses", "Fig. 3 at every beta, second dataset"),
    "fig12": ("rbt_pairings", "Fig. 4 over beta at every quantity, first dataset"),
    "fig13": ("rbt_pairings", "Fig. 4 over beta at every quantity, second dataset"),
    "fig14": ("rbt_pairings", "Fig. 5 over beta at every quantity, first dataset"),
    "fig15": ("rbt_pairings", "Fig. 5 over beta at every quantity, second dataset"),
    "fig16": ("rbt_losses", "Fig. 1 on HelpSteer and UltraFeedback"),
    "fig17": ("rbt_losses", "Fig. 2 on HelpSteer and UltraFeedback"),
    "fig18": ("rbt_losses", "Fig. 3 on HelpSteer and UltraFeedback"),
    "fig19": ("rbt_pairings", "Fig. 4 on HelpSteer and UltraFeedback"),
    "fig20": ("rbt_pairings", "Fig. 5 on HelpSteer and UltraFeedback"),
    "nbt_gradients": ("normbt", "gradient norm of training pairs against representation distance"),
    "nbt_gradients_by_error": ("normbt", "mean gradient norm by distance within bins of the error"),
    "nbt_full_gradient": ("normbt", "gradient norm of all layers against representation distance"),
    "nbt_updates": ("normbt", "mean gradient norm by decile of representation distance"),
    "nbt_accuracy": ("normbt", "accuracy by decile of representation distance"),
    "sections": ("labelled", "accuracy on labelled pairs, by RewardBench's sections"),
    "reliability": ("labelled", "calibration on labelled pairs"),
    "accuracy_by_distance": ("labelled", "accuracy on unseen pairs by decile of distance"),
    "bon_n": ("best_of_n", "golden reward of the pick over N, with oracle and random"),
    "bon_kl": ("best_of_n", "the same over the square root of the KL divergence"),
    "heatmap": ("comparisons", "difference from BT-MLP by beta and quantity"),
    "win_rates": ("comparisons", "on which share of the prompts a loss beats another"),
    "cost": ("comparisons", "improvement against seconds per run"),
    "theory_annotation_quality": ("theory", "annotation quality under Gaussian scores, simulated"),
    "theory_cross_prompt": ("theory", "margins and quality, same- against cross-prompt"),
    "theory_order_consistency": ("theory", "what agreement with noisy labels guarantees"),
    "theory_classification_reward": ("theory", "the classification reward's offset on BT data"),
    "theory_convergence": ("convergence", "risk and margin error against pairs, synthetic"),
}
# The functions that draw several figures, which differ in the function's `variant`: of the RBT
# figures the datasets (shown_runs.of_datasets) and, before them, the selections. The other figures
# are functions of their name.
VARIANTS: dict[str, dict[str, Any]] = {
    "by_base_llm": {"fig1": "earlier", "fig16": "later"},
    "over_error": {"fig2": "earlier", "fig17": "later", "fig8": "first", "fig9": "second"},
    "over_quantity": {"fig3": "earlier", "fig18": "later", "fig10": "first", "fig11": "second"},
    "pairs_by_base_llm": {
        "fig4": ("random", "earlier"),
        "fig5": ("chosen", "earlier"),
        "fig19": ("random", "later"),
        "fig20": ("chosen", "later"),
    },
    "pairs_over_beta": {
        "fig12": ("random", "first"),
        "fig13": ("random", "second"),
        "fig14": ("chosen", "first"),
        "fig15": ("chosen", "second"),
    },
    "by_decile": {"nbt_updates": "decile_gradient_norm", "nbt_accuracy": "decile_accuracy"},
    "best_of_n_curves": {"bon_n": "n", "bon_kl": "kl"},
}


def draw_figure(
    name: str, rows: Any, rng: Any, error_bars: str = "interval", metric: str | None = None
) -> Any:
    """Return the figure of that name, of the runs in `rows`; MissingData says what they lack.

    error_bars: one of error_bars.BARS_IN_WORDS. metric: what to draw instead of the figure's own
    metric. Only `figures_with` bars or metric take other than the defaults.
    """
    import matplotlib

    from rmsweep.analysis.figures.error_bars import Bars
    from rmsweep.analysis.figures.style import RC

    function, variant = _function(name)
    arguments = {"rows": rows, "rng": rng, "bars": Bars(rng, error_bars), "variant": variant}
    if metric is not None:
        arguments["metric"] = metric
    taken = [parameter for parameter in _parameters(name) if parameter in arguments]
    with matplotlib.rc_context(RC):
        return function(**{parameter: arguments[parameter] for parameter in taken})


def figures_with(parameter: str) -> list[str]:
    """Return the figures that offer a choice: bars or metric."""
    return [name for name in FIGURES if parameter in _parameters(name)]


def _function(name: str) -> tuple[Any, Any]:
    """Return the function that draws a figure, and the variant that it is."""
    module = importlib.import_module(f"rmsweep.analysis.figures.{FIGURES[name][0]}")
    for function, variants in VARIANTS.items():
        if name in variants:
            return getattr(module, function), variants[name]
    return getattr(module, name), None


def _parameters(name: str) -> list[str]:
    """Return which of draw_figure's arguments the figure takes; pure theory takes no rows."""
    return list(inspect.signature(_function(name)[0]).parameters)


def figure_list() -> str:
    """Return a line for each figure, for --help."""
    lines = [f"  {name:<29} {line}" for name, (_, line) in FIGURES.items()]
    return "\n".join(["figures (fig: arXiv:2411.04991, nbt: arXiv:2512.06343):", *lines])
