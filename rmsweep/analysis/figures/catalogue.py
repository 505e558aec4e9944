"""The figures by name: the module whose function of that name draws it, and a line for --help."""

import importlib
import inspect
from typing import Any

FIGURES = {
    "fig1": ("rbt_losses", "improvement by base LLM"),
    "fig2": ("rbt_losses", "improvement against the annotation error rate"),
    "fig3": ("rbt_losses", "improvement against quantity"),
    "fig4": ("rbt_pairings", "same- against cross-prompt annotation, random selection"),
    "fig5": ("rbt_pairings", "same- against cross-prompt annotation, similar and diversified"),
    "fig6": ("rbt_pairings", "the pairs' mean golden margin against the gain of cross-prompt"),
    "fig8": ("rbt_losses", "Fig. 2 at every quantity, first dataset"),
    "fig9": ("rbt_losses", "Fig. 2 at every quantity, second dataset"),
    "fig10": ("rbt_losses", "Fig. 3 at every beta, first dataset"),
    "fig11": ("rbt_losses", "Fig. 3 at every beta, second dataset"),
    "fig12": ("rbt_pairings", "Fig. 4 at every quantity, first dataset"),
    "fig13": ("rbt_pairings", "Fig. 4 at every quantity, second dataset"),
    "fig14": ("rbt_pairings", "Fig. 5 at every quantity, first dataset"),
    "fig15": ("rbt_pairings", "Fig. 5 at every quantity, second dataset"),
    "fig16": ("rbt_losses", "Fig. 1 on HelpSteer and UltraFeedback"),
    "fig17": ("rbt_losses", "Fig. 2 on HelpSteer and UltraFeedback"),
    "fig18": ("rbt_losses", "Fig. 3 on HelpSteer and UltraFeedback"),
    "fig19": ("rbt_pairings", "Fig. 4 on HelpSteer and UltraFeedback"),
    "fig20": ("rbt_pairings", "Fig. 5 on HelpSteer and UltraFeedback"),
    "nbt_gradients": ("normbt", "gradient norm of training pairs against representation distance"),
    "nbt_updates": ("normbt", "mean gradient norm by decile of representation distance"),
    "nbt_accuracy": ("normbt", "accuracy by decile of representation distance"),
    "sections": ("labelled", "accuracy on labelled pairs, by RewardBench's sections"),
    "reliability": ("labelled", "calibration on labelled pairs"),
    "accuracy_by_distance": ("labelled", "accuracy on unseen pairs by decile of distance"),
    "bon_n": ("best_of_n", "golden reward of the pick over N, with oracle and random"),
    "bon_kl": ("best_of_n", "the same over the square root of the KL divergence"),
    "heatmap": ("comparisons", "difference from BT-MLP by beta and quantity"),
    "win_rates": ("comparisons", "on which share of the prompts a loss beats another"),
    "cost": ("cost", "improvement against seconds per run"),
    "theory_annotation_quality": ("theory", "annotation quality under Gaussian scores, simulated"),
    "theory_cross_prompt": ("theory", "margins and quality, same- against cross-prompt"),
    "theory_order_consistency": ("theory", "what agreement with noisy labels guarantees"),
    "theory_classification_reward": ("theory", "the classification reward's offset on BT data"),
    "theory_convergence": ("convergence", "risk and margin error against pairs, synthetic"),
}


def draw_figure(name: str, rows: Any, rng: Any, error_bars: str = "interval") -> Any:
    """The figure of that name, of the runs in `rows`; MissingData says what they lack.

    error_bars: a kind of error_bars.KINDS; only `figures_with_bars` take others than intervals.
    """
    from rmsweep.analysis.figures.error_bars import Bars

    function = _function(name)
    arguments = {"rows": rows, "rng": rng, "bars": Bars(rng, error_bars)}
    return function(**{name: arguments[name] for name in _parameters(name)})


def figures_with_bars() -> list[str]:
    """The figures that offer a choice of error bars."""
    return [name for name in FIGURES if "bars" in _parameters(name)]


def _function(name: str) -> Any:
    return getattr(importlib.import_module(f"rmsweep.analysis.figures.{FIGURES[name][0]}"), name)


def _parameters(name: str) -> list[str]:
    """Of rows, rng and bars those that the figure takes; one of theory alone takes no rows."""
    return list(inspect.signature(_function(name)).parameters)


def figure_list() -> str:
    """A line a figure."""
    lines = [f"  {name:<29} {line}" for name, (_, line) in FIGURES.items()]
    return "\n".join(["figures (fig: arXiv:2411.04991, nbt: arXiv:2512.06343):", *lines])
