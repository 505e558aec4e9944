"""Failed runs by kind of error and place."""

import pytest

from rmsweep.paths import SweepFolder
from rmsweep.results import dataset
from rmsweep.results.failures import failures_by_kind

INNERMOST = 'Traceback\n  File "/x/y/fit.py", line 3, in fit\n  File "/x/y/z.py", line 7, in f\nE'


@pytest.mark.parametrize(("traceback", "place"), [(INNERMOST, "y/z.py:7 in f"), (None, "")])
def test_the_innermost_frame_is_named(traceback, place, tmp_path):
    row = {"key": "a", "status": "failed", "error": "ValueError: no", "traceback": traceback}
    dataset.write_part(SweepFolder(tmp_path), [row])
    (failure,) = failures_by_kind(SweepFolder(tmp_path), {"a"})
    assert failure == {"n": 1, "error": "ValueError: no", "at": place, "key": "a"}
