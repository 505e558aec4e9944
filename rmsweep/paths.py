"""The places of files: of the checkout or the wheel that this package belongs to."""

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
CHECKOUT = PACKAGE.parent  # of a wheel: the folder of installed packages, which has no .git
SHIPPED = PACKAGE if (PACKAGE / "conf").is_dir() else CHECKOUT  # holds conf/, sweeps/ and claims/
