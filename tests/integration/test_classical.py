"""Classical Bradley-Terry: recovered strengths, two players by hand, what has no estimate."""

import runpy
import subprocess
import sys

import numpy as np
import pytest
from helpers.shared_data import SHARED, needs
from scipy.special import expit

from rmsweep.paths import CHECKOUT

DATA = SHARED / "alpacaeval"
SCRIPT = CHECKOUT / "docs/classical_bradley_terry.py"
strengths = runpy.run_path(str(SCRIPT))["strengths"]


def test_two_players_have_the_log_odds_of_their_wins():
    winners = np.repeat([0, 1], [30, 10])
    np.testing.assert_allclose(np.diff(strengths(winners, 1 - winners, 2)), -np.log(3), atol=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_strengths_are_the_fixed_point_of_bradley_and_terry(seed):
    """Expected wins equal wins: the likelihood equations; and the truth is recovered."""
    rng = np.random.default_rng(seed)
    true = rng.normal(size=6)
    true -= true.mean()
    first = rng.integers(6, size=20_000)
    second = (first + 1 + rng.integers(5, size=20_000)) % 6
    wins = rng.random(20_000) < expit(true[first] - true[second])
    winners, losers = np.where(wins, (first, second), (second, first))
    found = strengths(winners, losers, 6)
    np.testing.assert_allclose(found, true, atol=0.12)
    expected = np.zeros(6)
    p = expit(found[first] - found[second])
    np.add.at(expected, first, p)
    np.add.at(expected, second, 1 - p)
    np.testing.assert_allclose(expected, np.bincount(winners, minlength=6), rtol=1e-4)
    assert abs(found.sum()) < 1e-9


BROKEN = {
    "an unbeaten player": ([0, 0, 1, 2], [1, 2, 2, 1], 3, "fall into 2 groups"),
    "two leagues": ([0, 1, 2, 3], [1, 0, 3, 2], 4, "fall into 2 groups"),
    "never seen": ([0, 1], [1, 0], 4, "fall into 3 groups"),
    "itself": ([0, 1], [1, 1], 2, "a player cannot meet itself: comparison 1"),
    "lengths": ([0, 1], [1], 2, "two lists of one length"),
}


@pytest.mark.parametrize(("winners", "losers", "n", "message"), BROKEN.values(), ids=BROKEN)
def test_what_has_no_estimate_is_refused(winners, losers, n, message):
    with pytest.raises(ValueError, match=message):
        strengths(winners, losers, n)


def test_the_docs_example_runs(monkeypatch):
    monkeypatch.syspath_prepend(SCRIPT.parent)
    text = (CHECKOUT / "docs/classical-bradley-terry.md").read_text()
    example = "\n".join(line[4:] for line in text.split("\n\n")[3].splitlines())
    names = {}
    exec(example.replace("strengths(winners", "s = strengths(winners"), names)
    assert names["s"].shape == (3,) and abs(names["s"].sum()) < 1e-9


@needs("alpacaeval")
def test_strengths_of_real_models_follow_their_golden_rewards():
    said = subprocess.run(
        [sys.executable, SCRIPT, DATA], capture_output=True, text=True, check=True
    )
    assert "20,000 comparisons of 45 models" in said.stdout and "Pearson 0.99" in said.stdout
