"""The figures by name: the module whose function of that name draws it, and a line for --help."""

import importlib
import inspect
from typing import Any

FIGURES = {
    "fig1": ("losses", "improvement by base LLM"),
    "fig2": ("losses", "improvement against the annotation error rate"),
    "fig3": ("losses", "improvement against quantity"),
    "fig4": ("pairings", "same- against cross-prompt annotation, random selection"),
    "fig5": ("pairings", "same- against cross-prompt annotation, similar and diversified"),
    "fig6": ("pairings", "the pairs' mean golden margin against the gain of cross-prompt"),
    "fig8": ("losses", "Fig. 2 at every quantity, first dataset"),
    "fig9": ("losses", "Fig. 2 at every quantity, second dataset"),
    "fig10": ("losses", "Fig. 3 at every beta, first dataset"),
    "fig11": ("losses", "Fig. 3 at every beta, second dataset"),
    "fig12": ("pairings", "Fig. 4 at every quantity, first dataset"),
    "fig13": ("pairings", "Fig. 4 at every quantity, second dataset"),
    "fig14": ("pairings", "Fig. 5 at every quantity, first dataset"),
    "fig15": ("pairings", "Fig. 5 at every quantity, second dataset"),
    "fig16": ("losses", "Fig. 1 on HelpSteer and UltraFeedback"),
    "fig17": ("losses", "Fig. 2 on HelpSteer and UltraFeedback"),
    "fig18": ("losses", "Fig. 3 on HelpSteer and UltraFeedback"),
    "fig19": ("pairings", "Fig. 4 on HelpSteer and UltraFeedback"),
    "fig20": ("pairings", "Fig. 5 on HelpSteer and UltraFeedback"),
    "nbt_gradients": ("normbt", "gradient norm of training pairs against representation distance"),
    "nbt_updates": ("normbt", "mean gradient norm by decile of representation distance"),
    "nbt_accuracy": ("normbt", "accuracy by decile of representation distance"),
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


def draw(name: str, rows: Any, rng: Any) -> Any:
    """The figure of that name, of the runs in `rows`; MissingData says what they lack."""
    module, _ = FIGURES[name]
    function = getattr(importlib.import_module(f"rmsweep.figures.{module}"), name)
    given = {"rows": rows, "rng": rng}  # a figure of theory alone takes no rows
    return function(**{name: given[name] for name in inspect.signature(function).parameters})


def listing() -> str:
    """A line a figure."""
    lines = [f"  {name:<29} {line}" for name, (_, line) in FIGURES.items()]
    return "\n".join(["figures (fig: arXiv:2411.04991, nbt: arXiv:2512.06343):", *lines])
