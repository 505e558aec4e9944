"""Real data beside the checkout, in ../shared/data, and a mark for the tests that need them."""

import pytest

from rmsweep.paths import CHECKOUT

SHARED = CHECKOUT.parent / "shared/data"


def needs(folder):
    """Return a mark that skips a test where the folder of ../shared/data is absent."""
    reason = f"needs ../shared/data/{folder}, which is not beside this checkout"
    return pytest.mark.skipif(not (SHARED / folder).is_dir(), reason=reason)
