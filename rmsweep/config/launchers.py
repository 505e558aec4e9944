"""The fields of the launchers, typed and checked; none of them changes a number."""

from dataclasses import dataclass, replace
from typing import Any

from rmsweep import machine
from rmsweep.config.reward_models import Options
from rmsweep.config.schema import from_mapping


@dataclass(frozen=True)
class Local:
    """The fields of launcher=local: processes on this machine, or its GPU in one process."""

    cluster: str
    workers: int
    pack_runs: int  # most runs in a pack


@dataclass(frozen=True)
class GpuTasks:
    """The fields of GPU tasks that differ from those of tasks on CPUs; null where they do not."""

    gres: str | None
    cpus: int | None
    mem_gb: float | None
    time_min: int | None
    partition: str | None
    qos: str | None
    constraint: str | None


@dataclass(frozen=True)
class Slurm:
    """The fields of launcher=slurm: arrays of tasks; conf/launcher/slurm.yaml says what each is."""

    cluster: str
    target_minutes: float
    max_parallel: int
    pack_runs: int | None
    gpu: bool
    cpus: int
    mem_gb: float
    time_min: int
    partition: str | None
    account: str | None
    qos: str | None
    gres: str | None
    constraint: str | None
    sbatch: dict[str, Any]
    gpu_tasks: GpuTasks
    setup: list[Any]

    def most_in_pack(self, on: str) -> int:
        """Return the largest number of runs that a pack on device `on` may have."""
        return self.pack_runs or default_pack_runs(on)

    def for_gpu(self) -> "Slurm":
        """Return the fields with what GPU tasks ask for in place of what tasks on CPUs do."""
        own = {name: v for name, v in vars(self.gpu_tasks).items() if v is not None}
        return replace(self, **own)


LEAST_MIN = 2
LEAST_GB = 0.01
POSITIVE = tuple("target_minutes max_parallel pack_runs cpus mem_gb time_min".split())
OURS = frozenset(
    "job_name array output error open_mode signal requeue no_requeue time mem cpus_per_task nodes "
    "ntasks ntasks_per_node partition account qos gres constraint wckey parsable wait".split()
)  # the options of sbatch that rmsweep sets


def local_of(values: dict[str, Any], device: str | None) -> tuple[Local, str]:
    """Return the fields of launcher=local, its nulls decided, and the device that MLPs run on.

    device: as configured; null takes what this machine has. ValueError names a wrong field; there
    may be no more workers than cores.
    """
    device = machine.device(device)
    cores = machine.cores()
    default = {"workers": cores, "pack_runs": default_pack_runs(device)}
    decided = {name: default.get(name) if v is None else v for name, v in values.items()}
    local = from_mapping(Local, decided, "launcher")
    _require_positive(local, ("workers", "pack_runs"))
    if local.workers > cores:
        raise ValueError(
            f"launcher.workers must be at most {cores}, this machine's cores; got {local.workers} "
            "(more would be up to 10 times slower)"
        )
    return local, device


def slurm_of(values: dict[str, Any], device: str | None) -> tuple[Slurm, str]:
    """Return the fields of launcher=slurm and the device of MLPs; ValueError for unsound ones."""
    slurm = from_mapping(Slurm, values, "launcher")
    both = (slurm, slurm.for_gpu())
    for fields in both:
        _require_positive(fields, POSITIVE)
    for fields in both:
        _require_enough(fields)
    _require_script_lines(slurm)
    on = "cuda" if slurm.gpu else "cpu"
    if device not in (None, on):
        raise ValueError(f"device={device} disagrees with launcher.gpu={slurm.gpu}; leave it null")
    return slurm, on


def _require_enough(slurm: Slurm) -> None:
    if slurm.mem_gb < LEAST_GB:
        raise ValueError(f"launcher.mem_gb must be >= {LEAST_GB}, got {slurm.mem_gb}")
    if slurm.time_min < LEAST_MIN:
        raise ValueError(
            f"launcher.time_min must be >= {LEAST_MIN}, since Slurm may warn a task a minute "
            f"before it should, and it must have started by then; got {slurm.time_min}"
        )


def _require_script_lines(slurm: Slurm) -> None:
    """Raise ValueError for what the script of a task cannot hold as it is, or what is ours."""
    for fields in (slurm, slurm.for_gpu()):
        for name in ("partition", "account", "qos", "gres", "constraint"):
            _require_one_line(name, getattr(fields, name))
    for line in slurm.setup:
        if not isinstance(line, str):
            raise ValueError(f"launcher.setup must be a list of shell lines, got {line!r}")
    for name, value in slurm.sbatch.items():
        if not isinstance(name, str) or not name.isprintable():
            raise ValueError(f"launcher.sbatch must map options of sbatch to values, got {name!r}")
        if name.replace("-", "_") in OURS:
            raise ValueError(
                f"launcher.sbatch.{name} cannot be given: rmsweep sets it, where it can be chosen "
                "by a field of the launcher (`rmsweep run launcher=slurm --cfg job` shows them)"
            )
        if value is False or not isinstance(value, str | int | float):
            raise ValueError(
                f"launcher.sbatch.{name} must be text, a number or true (a flag), got {value!r}"
            )
        _require_one_line(f"sbatch.{name}", value)


def _require_one_line(name: str, value: object) -> None:
    if isinstance(value, str) and not value.isprintable():
        raise ValueError(f"launcher.{name} must be one line of printable text, got {value!r}")


def _require_positive(fields: Local | Slurm, names: tuple[str, ...]) -> None:
    for name in names:
        value = getattr(fields, name)
        least = "> 0 and finite" if isinstance(value, float) else ">= 1"
        is_right = 0 < value < float("inf") if isinstance(value, float) else (value or 0) >= 1
        if value is not None and not is_right:
            raise ValueError(f"launcher.{name} must be {least}, got {value}")


def default_pack_runs(on: str) -> int:
    """Return the largest number of runs in a pack on device `on`, where no field says it."""
    return 16 if on == "cpu" else 64


@dataclass(frozen=True)
class Place:
    """The device, threads and folders that a pack runs with."""

    cache_root: str | None
    device: str
    # Of torch, BLAS and LightGBM. The last bits of sums may hang on it, so it is 1, except where a
    # kind of reward model gives the same bits on any, and where an older row is verified.
    threads: int = 1
    save_models: bool = False
    # How many threads do different runs, or blocks of the test file; no number hangs on it.
    at_once: int = 1


MOST_BLOCKS = 8  # of test prompts, that one run holds in memory at once on any number of cores


def place_of_one(
    options: Options, cache_root: str | None, device: str, save_models: bool = False
) -> Place:
    """Return the place of one run that has all cores of this machine.

    It takes them where no bit of its numbers hangs on it: to fit, or to predict several blocks.
    """
    threads = machine.cores() if options.same_on_any_threads else 1
    at_once = min(machine.cores(), MOST_BLOCKS) if options.predicts_at_once else 1
    return Place(cache_root, device, threads, save_models, at_once)


def place_of_saved_model(options: Options, device: str) -> Place:
    """Return the place of a saved model's predictions: on a GPU one block after the other."""
    place = place_of_one(options, None, device)
    return place if device == "cpu" else replace(place, at_once=1)
