"""The places of files: of this package, and of all that belongs to a sweep."""

from dataclasses import dataclass
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
CHECKOUT = PACKAGE.parent  # of a wheel: the folder of installed packages, which has no .git
SHIPPED = PACKAGE if (PACKAGE / "conf").is_dir() else CHECKOUT  # holds conf/, sweeps/ and claims/
OUTPUTS = Path("outputs")  # of the working directory: a folder for each sweep


@dataclass(frozen=True)
class LaunchFolder:
    """A folder that work is launched in: of a sweep, or of a cache that is built on Slurm."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)

    @property
    def name(self) -> str:
        """The name of the folder, which is that of its sweep."""
        return self.path.name

    @property
    def launch(self) -> Path:
        """The record of the launch that runs; its lock is the file beside it, .launch.lock."""
        return self.path / ".launch"

    @property
    def jobs(self) -> Path:
        """The folder of what was given to Slurm, a file an array."""
        return self.path / "jobs"

    @property
    def logs(self) -> Path:
        """The folder in which submitit keeps scripts, pickles and logs."""
        return self.jobs / "submitit"


@dataclass(frozen=True)
class SweepFolder(LaunchFolder):
    """The folder of a sweep, which knows where everything of the sweep lies."""

    @classmethod
    def named(cls, name: str) -> "SweepFolder":
        """Return the folder of the sweep of this name, in outputs/; it need not be there."""
        return cls(OUTPUTS / name)

    @property
    def runs(self) -> Path:
        """The folder of the dataset, part-*.parquet, with a row for each run that has ended."""
        return self.path / "runs"

    @property
    def specs(self) -> Path:
        """The file of the specs that the launches asked for."""
        return self.path / "specs.parquet"

    @property
    def launches(self) -> Path:
        """The file that records each launch, for people to read."""
        return self.path / "sweep.yaml"

    @property
    def models(self) -> Path:
        """The folder of saved reward models, a folder a key."""
        return self.path / "models"

    def model(self, key: str) -> Path:
        """Return where save_model=true keeps a run's reward model, as saved_models.py says."""
        return self.models / key

    @property
    def diffs(self) -> Path:
        """The folder of changes that were not committed when a run was made."""
        return self.path / "diffs"

    @property
    def figures(self) -> Path:
        """The folder of figures, where no other is asked for."""
        return self.path / "figures"

    @property
    def report(self) -> Path:
        """The file of the report, where no other is asked for."""
        return self.path / "report.html"

    @property
    def sent(self) -> Path:
        """The file that records which runs were sent to W&B."""
        return self.path / "wandb.json"

    @property
    def wandb(self) -> Path:
        """The folder in which W&B keeps its own files."""
        return self.path / "wandb"
