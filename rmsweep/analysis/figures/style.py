"""How figures look: sizes, fonts, and the same colour, marker and line for a loss everywhere."""

import hashlib
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
from matplotlib.figure import Figure

from rmsweep import files
from rmsweep.analysis.metrics import metric_named

COLUMN_IN, PAGE_IN = 3.3, 6.75  # a column, and both columns, of a paper
FORMATS = ("png", "pdf", "svg")
IMPROVEMENT_LABEL = "improvement of golden reward over the base LLM"  # of an axis
GREY = "#777777"  # of what is no loss and no base LLM
# Of base LLMs, where colour tells these apart instead of losses; Okabe and Ito's without yellow.
BASE_LLM_COLORS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000"]
SELECTION_MARKERS = {"random": "o", "similar": "s", "diversified": "^"}
RC: Any = {
    "font.size": 7,
    "axes.titlesize": 7,
    "axes.labelsize": 7,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "figure.labelsize": 7,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "lines.linewidth": 1.1,
    "lines.markersize": 3.6,
    "lines.markeredgewidth": 0.8,
    "errorbar.capsize": 1.5,
    "hatch.linewidth": 0.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.linewidth": 0.4,
    "grid.color": "#dddddd",
    "axes.axisbelow": True,
    "axes.formatter.useoffset": False,
    "legend.frameon": False,
    "text.parse_math": False,  # a name may hold a dollar sign
    "svg.hashsalt": "rmsweep",
    "pdf.fonttype": 42,
    "savefig.dpi": 200,
}


class LossStyle(NamedTuple):
    """The look of a loss: the same colour, marker, line and hatch in every figure."""

    color: str
    marker: str
    linestyle: Any  # of matplotlib's names
    hatch: str


KNOWN = {
    "bt_mlp": LossStyle("#0072b2", "o", "-", ""),
    "clf_mlp": LossStyle("#d55e00", "s", "--", "////"),
    "clf_lgb": LossStyle("#009e73", "^", "-.", "...."),
    "normbt": LossStyle("#cc79a7", "D", ":", "xxxx"),
}  # colours of Okabe and Ito, told apart in every common kind of colour blindness
MORE = {
    "bt_linear": LossStyle("#0072b2", "v", "--", "\\\\\\\\"),
    "clf_linear": LossStyle("#d55e00", "P", ":", "++++"),
    "normbt_linear": LossStyle("#cc79a7", "X", "--", "oo"),
    "bt_lgb": LossStyle("#009e73", "<", ":", "||||"),
    "clf_hgb": LossStyle("#009e73", ">", "-", "oo"),
    "clf_logistic": LossStyle("#d55e00", "*", "-.", "||||"),
    "bt_margin": LossStyle("#e69f00", "v", "-", ""),
    "bt_golden_margin": LossStyle("#e69f00", "P", "--", "////"),
    "bt_margin_out": LossStyle("#e69f00", "X", "-.", "...."),
    "normbt_golden_margin": LossStyle("#cc79a7", "P", "--", "////"),
    "normbt_smoothed": LossStyle("#cc79a7", "<", "-.", "++++"),
    "normbt_margin_out": LossStyle("#cc79a7", "v", ":", "\\\\\\\\"),
    "bt_smoothed": LossStyle("#56b4e9", "X", "-", ""),
    "bt_flip_robust": LossStyle("#56b4e9", "<", "--", "xxxx"),
    "hinge_mlp": LossStyle("#000000", ">", "-.", ""),
    "thurstone_mlp": LossStyle("#888888", "*", ":", ""),
}  # linear heads, trees and classifiers in the colour of the loss above that is most like them
# Those of a user's own losses: every marker with every line, in four colours with a hatch each.
OTHERS = [
    LossStyle(color, marker, linestyle, hatch)
    for color, hatch in (
        ("#e69f00", "\\\\\\\\"),
        ("#56b4e9", "++++"),
        ("#000000", "oo"),
        ("#888888", "||||"),
    )
    for marker in "vPX<>*"
    for linestyle in ("-", "--", "-.", ":")
]


def loss_style(loss: str) -> LossStyle:
    """Return a loss's style, the same in every figure; a user's own hangs on its name alone."""
    number = int(hashlib.sha256(loss.encode()).hexdigest(), 16)
    return (KNOWN | MORE).get(loss, OTHERS[number % len(OTHERS)])


def metric_label(metric: str) -> str:
    """Return what a metric is, with its unit, for the label of an axis."""
    if metric == "improvement":
        return IMPROVEMENT_LABEL
    line, unit = metric_named(metric).line, metric_named(metric).unit
    return line if unit in line else f"{line} ({unit})"


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure, in the format of the path's suffix; the same bytes for the same figure."""
    undated = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {"Software": None}}
    suffix = path.suffix[1:]
    with matplotlib.rc_context(RC), files.whole(path) as unfinished:
        figure.savefig(unfinished, format=suffix, metadata=undated[suffix])
