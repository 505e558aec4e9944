"""What `rmsweep run -m ... --plan` prints: what a launch would do, and what it would cost."""

from rich.console import Console
from rich.table import Table

from rmsweep.cache import inputs
from rmsweep.launch import plan
from rmsweep.launch.run_sweep import SweepRequest

OUT = Console(highlight=False)


def print_plan(request: SweepRequest, limit: int | None) -> None:
    """Print runs by axis, done and missing, then packs and hours, as the launcher plans them."""
    specs = request.specs[:limit]
    print(f"sweep {request.axes.name}: {len(specs)} runs")
    table = Table("field", "values (runs)")
    for field, counts in plan.values_by_field(request.axes, specs).items():
        table.add_row(field, ", ".join(f"{value} ({n})" for value, n in counts.items()))
    OUT.print(table)
    try:
        items = inputs.keyed_items(specs, request.cache_root)
    except FileNotFoundError as error:
        print(f"done: unknown, since keys need the data: {error}")
        print("hours and packs: unknown, since they need the data's shape")
        return
    planned = plan.plan_launch(request, items)
    print(f"done: {planned.n_done}, missing: {planned.n_missing}")
    if not planned.n_missing:
        return
    for line in planned.lines:
        print(line)
    how = "the mean cost of runs like them in outputs/"
    if planned.n_measured < planned.n_missing:
        how += f" for {planned.n_measured} runs, the arithmetic of the others"
    print(f"(from {how})")
