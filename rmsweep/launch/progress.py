"""What a launch tells its user while it works: lines, and a progress bar of runs."""

import contextlib
import functools
from collections.abc import Callable, Iterator

from rich import progress as rich_progress
from rich.console import Console

ERR = Console(stderr=True, highlight=False)
say = functools.partial(print, flush=True)  # seen at once in a log, too


@contextlib.contextmanager
def bar(total: int) -> Iterator[Callable[[int, int], None]]:
    """Show a bar of `total` runs on a terminal; yield what sets how many have ended and failed."""
    with rich_progress.Progress(
        rich_progress.TextColumn("{task.description}"),
        rich_progress.BarColumn(),
        rich_progress.MofNCompleteColumn(),
        _RunsPerMinute(),
        rich_progress.TimeRemainingColumn(),
        console=ERR,
        disable=not ERR.is_terminal,
    ) as progress:
        task = progress.add_task("runs", total=total)

        def advance(ended: int, failed: int) -> None:
            text = f"runs ([red]{failed} failed[/])" if failed else "runs"
            progress.update(task, completed=ended, description=text)

        yield advance


class _RunsPerMinute(rich_progress.ProgressColumn):
    def render(self, task: rich_progress.Task) -> str:
        return f"{60 * task.speed:.0f}/min" if task.speed else "-/min"
