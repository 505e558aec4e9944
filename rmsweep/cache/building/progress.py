"""The progress of a stage: pace and time left, on a line that is rewritten or every 30 s."""

import sys
import time

EVERY_S = {True: 0.5, False: 30.0}  # on a terminal, in a log


class Progress:
    """The progress of one stage's parts; those of this process alone count for the pace."""

    def __init__(self, label: str, n_parts: int, n_left: int) -> None:
        self.label, self.n_parts, self.n_left, self.n_mine = label, n_parts, n_left, n_left
        self.tokens, self.texts, self.is_terminal = 0, 0, sys.stderr.isatty()
        self.started = self.told = time.monotonic()
        self.share = 0.0  # of the part at hand

    def advance(self, texts: int, tokens: int, share: float) -> None:
        """Add texts and tokens that are done; share: of the part at hand that is done."""
        self.texts, self.tokens, self.share = self.texts + texts, self.tokens + tokens, share
        if time.monotonic() - self.told > EVERY_S[self.is_terminal]:
            self._tell()

    def part_done(self) -> None:
        """Count a part as done."""
        self.n_left, self.share = self.n_left - 1, 0.0
        if not self.n_left:
            self._tell(last=True)

    def _tell(self, last: bool = False) -> None:
        self.told = now = time.monotonic()
        spent, done = max(now - self.started, 1e-3), self.n_mine - self.n_left + self.share
        left = f", {duration(spent / done * (self.n_mine - done))} left" if 0 < done else ""
        text = (
            f"{self.label}: {self.n_parts - self.n_left} of {self.n_parts} parts, "
            f"{self.texts / spent:,.1f} texts/s, {self.tokens / spent:,.0f} tokens/s"
            f"{f' in {duration(spent)}' if last else left}"
        )
        end = "\n" if last or not self.is_terminal else ""
        if self.is_terminal:
            text = f"\r{text}\033[K"
        print(text, end=end, file=sys.stderr, flush=True)


def duration(seconds: float) -> str:
    """Return a time in hours, minutes or seconds, whichever suits."""
    minutes, hours = seconds / 60, seconds / 3600
    if hours >= 1.5:
        return f"{hours:.1f} h"
    return f"{minutes:.1f} min" if minutes >= 1.5 else f"{seconds:.0f} s"
