"""What a launch tells its user while it works: lines, and a progress bar of runs."""

import contextlib
import functools
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)

ERR = Console(stderr=True, highlight=False)
say = functools.partial(print, flush=True)  # seen at once in a log, too


@contextlib.contextmanager
def bar(total: int) -> Iterator[Callable[[int, int], None]]:
    """Show a progress bar of `total` runs, and yield what sets how many have ended and failed.

    Nothing is shown where the output is no terminal.
    """
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _RunsPerMinute(),
        TimeRemainingColumn(),
        console=ERR,
        disable=not ERR.is_terminal,
    ) as progress:
        task = progress.add_task("runs", total=total)

        def advance(ended: int, failed: int) -> None:
            text = f"runs ([red]{failed} failed[/])" if failed else "runs"
            progress.update(task, completed=ended, description=text)

        yield advance


class _RunsPerMinute(ProgressColumn):
    def render(self, task: Task) -> str:
        return f"{60 * task.speed:.0f}/min" if task.speed else "-/min"
