"""Runs of which one field, such as the learning rate, was tuned by the validation loss."""

import numpy as np
import pandas as pd

from rmsweep.analysis.fields import as_typed, combination_ids, id_fields
from rmsweep.errors import Absent, check_name

COLUMN = "validation_loss_by_epoch"  # what a value of the field is chosen by


def tuned_runs(rows: pd.DataFrame, field: str) -> pd.DataFrame:
    """Return of each cell the runs of the value that has the lowest validation loss.

    A cell is the runs that differ in the field and the seed alone; one with a single value has
    nothing to tune and is left out. The validation loss is that of the last epoch, whose weights a
    run keeps, in its mean over the seeds that all values of the cell have. The field of the runs
    returned is null, so that cells with unlike choices are compared as tuned ones. The test prompts
    choose nothing.

    rows: done runs, one a key, with `COLUMN`. Absent where no cell has two values.
    """
    check_name("field to tune", field, id_fields(rows))
    rows = rows[rows[COLUMN].notna()] if COLUMN in rows else rows[:0]
    others = [name for name in id_fields(rows) if name not in (field, "seed")]
    cells = combination_ids(rows, others)
    chosen = [_best_value(part, field) for _, part in rows.groupby(cells)]
    kept = [part for part in chosen if part is not None]
    if not kept:
        raise Absent(f"no two runs of MLPs differ in {field} alone, of which one could be chosen")
    return pd.concat(kept, ignore_index=True).assign(**{field: None})


def choice_notes(rows: pd.DataFrame, chosen: pd.DataFrame, field: str, n_missing: int) -> list[str]:
    """Return in words which values were chosen, in how many cells of each loss, and what is not in.

    rows: all done runs, with the field's values. chosen: of `tuned_runs`. n_missing: runs wanted
    that are not done.
    """
    values = chosen[["key", "loss"]].merge(rows[["key", field]], on="key")
    others = [name for name in id_fields(rows) if name not in (field, "seed")]
    values["cell"] = combination_ids(chosen, others)
    counts = values.drop_duplicates("cell").groupby(["loss", field], sort=False).size()
    words = [f"{as_typed(value)} for {n} of {loss}" for (loss, value), n in counts.items()]
    notes = [f"{field} is tuned, in each cell by the validation loss: {', '.join(words)}."]
    is_tuned = pd.MultiIndex.from_frame(rows[others]).isin(pd.MultiIndex.from_frame(chosen[others]))
    if not is_tuned.all():
        n_out = f"{(~is_tuned).sum():,} of {len(rows):,} done runs are left out"
        notes.append(f"{n_out}: they have one value of {field}, or no validation loss.")
    if n_missing:
        notes.append(f"INCOMPLETE: {n_missing:,} runs that the sweep wants are missing.")
    return notes


def _best_value(cell: pd.DataFrame, field: str) -> pd.DataFrame | None:
    """The runs of the value with the lowest loss, at the seeds that every value has."""
    losses = cell.assign(loss=cell[COLUMN].map(lambda curve: float(curve[-1])))
    table = losses.pivot(index="seed", columns=field, values="loss").dropna()
    if table.shape[1] < 2 or table.empty:
        return None
    best = table.columns[int(np.argmin(table.mean().to_numpy()))]
    return cell[(cell[field] == best) & cell["seed"].isin(table.index)]
