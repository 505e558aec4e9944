"""The places of files: of this package, and of all that belongs to a sweep."""

from dataclasses import dataclass
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
CHECKOUT = PACKAGE.parent  # of a wheel: the folder of installed packages, which has no .git
SHIPPED = PACKAGE if (PACKAGE / "conf").is_dir() else CHECKOUT  # holds conf/, sweeps/ and claims/
OUTPUTS = Path("outputs")  # of the working directory: a folder for each sweep


class _Inside:
    """The path of a file or a folder inside a LaunchFolder, by its relative path there."""

    def __init__(self, relative: str) -> None:
        self.relative = relative

    def __get__(self, folder: "LaunchFolder", owner: type) -> Path:
        return folder.path / self.relative


@dataclass(frozen=True)
class LaunchFolder:
    """A folder that work is launched in: of a sweep, or of a cache that is built on Slurm."""

    path: Path

    launch = _Inside(".launch")  # the record of the launch that runs; its lock is .launch.lock
    jobs = _Inside("jobs")  # the folder of what was given to Slurm, a file an array
    logs = _Inside("jobs/submitit")  # the folder in which submitit keeps scripts, pickles and logs

    def __str__(self) -> str:
        return str(self.path)

    @property
    def name(self) -> str:
        """The name of the folder, which is that of its sweep."""
        return self.path.name


@dataclass(frozen=True)
class SweepFolder(LaunchFolder):
    """The folder of a sweep, which knows where everything of the sweep lies."""

    runs = _Inside("runs")  # the dataset, part-*.parquet, with a row for each run that has ended
    specs = _Inside("specs.parquet")  # the specs that the launches asked for
    launches = _Inside("sweep.yaml")  # a record of each launch, for people to read
    models = _Inside("models")  # saved reward models, a folder a key
    diffs = _Inside("diffs")  # changes that were not committed when a run was made
    figures = _Inside("figures")  # figures, where no other folder is asked for
    report = _Inside("report.html")  # the report, where no other file is asked for
    sent = _Inside("wandb.json")  # a record of which runs were sent to W&B
    wandb = _Inside("wandb")  # the files of W&B itself

    @classmethod
    def named(cls, name: str) -> "SweepFolder":
        """Return the folder of the sweep of this name, in outputs/; it need not be there."""
        return cls(OUTPUTS / name)

    def model(self, key: str) -> Path:
        """Return where save_model=true keeps a run's reward model, as saved_models.py says."""
        return self.models / key
