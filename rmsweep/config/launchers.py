"""Where a sweep runs, this machine or a Slurm cluster, and with what; no number hangs on it."""

from dataclasses import dataclass, replace
from typing import Any

from rmsweep import machine
from rmsweep.config.schema import from_mapping
from rmsweep.errors import nearest


@dataclass(frozen=True)
class Local:
    """Processes on this machine, or its GPU in one process."""

    cluster: str
    workers: int
    threads: int  # of each worker
    pack_runs: int  # most runs in a pack


@dataclass(frozen=True)
class GpuTasks:
    """What GPU tasks ask for where it is not what tasks on CPUs ask for."""

    gres: str | None
    cpus: int | None
    mem_gb: float | None
    time_min: int | None
    partition: str | None
    qos: str | None
    constraint: str | None


@dataclass(frozen=True)
class Slurm:
    """Arrays of tasks on a cluster; conf/launcher/slurm.yaml says what each field is."""

    cluster: str
    target_minutes: float
    max_parallel: int
    pack_runs: int | None
    threads: int
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

    @property
    def workers(self) -> int:
        """Of a task on CPUs."""
        return self.cpus // self.threads

    def for_gpu(self) -> "Slurm":
        """The same with what GPU tasks ask for."""
        own = {name: v for name, v in vars(self.gpu_tasks).items() if v is not None}
        return replace(self, **own)


LEAST_MIN = 2
LEAST_GB = 0.01
OURS = {
    "job_name", "array", "output", "error", "open_mode", "signal", "requeue", "no_requeue", "time",
    "mem", "cpus_per_task", "nodes", "ntasks", "ntasks_per_node", "partition", "account", "qos",
    "gres", "constraint", "wckey", "parsable", "wait",
}  # fmt: skip
KINDS = {"local": Local, "slurm": Slurm}


def settle(values: dict[str, Any], device: str | None) -> tuple[Local | Slurm, str]:
    """The launcher of a config, its nulls decided, and the device that MLPs run on.

    device: as configured, null for what there is. ValueError names a field that makes no sense.
    """
    given = values.get("cluster")
    kind = KINDS.get(given) if isinstance(given, str) else None
    if kind is None:
        raise ValueError(f"launcher.cluster {given!r} is unknown; {nearest(given, KINDS)}")
    if kind is Slurm:
        slurm = from_mapping(Slurm, values, "launcher")
        return slurm, _checked(slurm, device)
    device = machine.device(device)
    return _local(values, device), device


def _local(values: dict[str, Any], device: str) -> Local:
    """Workers x threads may not exceed the cores."""
    cores = machine.cores()
    threads = values.get("threads") or 1
    workers = max(1, cores // threads) if isinstance(threads, int) else 1
    default = {"workers": workers, "threads": 1, "pack_runs": _pack_runs(device)}
    decided = {name: default.get(name) if v is None else v for name, v in values.items()}
    launcher = from_mapping(Local, decided, "launcher")
    _require_positive(launcher, "workers", "threads", "pack_runs")
    if launcher.workers * launcher.threads > cores:
        raise ValueError(
            f"launcher.workers x launcher.threads must be at most {cores}, this machine's cores; "
            f"got {launcher.workers} x {launcher.threads} (more would be up to 10 times slower)"
        )
    return launcher


def _checked(slurm: Slurm, device: str | None) -> str:
    """The device of a cluster's tasks."""
    for asked in (slurm, slurm.for_gpu()):
        _require_positive(
            asked, "target_minutes", "max_parallel", "pack_runs", "threads", "cpus", "mem_gb",
            "time_min",
        )  # fmt: skip
    for asked in (slurm, slurm.for_gpu()):
        if asked.mem_gb < LEAST_GB:
            raise ValueError(f"launcher.mem_gb must be >= {LEAST_GB}, got {asked.mem_gb}")
        if asked.time_min < LEAST_MIN:
            raise ValueError(
                f"launcher.time_min must be >= {LEAST_MIN}, since Slurm may warn a task a minute "
                f"before it should, and it must have started by then; got {asked.time_min}"
            )
    if slurm.cpus % slurm.threads:
        raise ValueError(
            f"launcher.cpus must be a multiple of launcher.threads, so that workers x threads fill "
            f"a task; got {slurm.cpus} and {slurm.threads}"
        )
    for asked in (slurm, slurm.for_gpu()):
        for name in ("partition", "account", "qos", "gres", "constraint"):
            _require_one_line(name, getattr(asked, name))
    for line in slurm.setup:
        if not isinstance(line, str):
            raise ValueError(f"launcher.setup must be a list of shell lines, got {line!r}")
    _check_sbatch(slurm.sbatch)
    on = "cuda" if slurm.gpu else "cpu"
    if device not in (None, on):
        raise ValueError(f"device={device} disagrees with launcher.gpu={slurm.gpu}; leave it null")
    return on


def _check_sbatch(options: dict[Any, Any]) -> None:
    """ValueError for an option of sbatch that is ours, or that a line of a script cannot hold."""
    for name, value in options.items():
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
    """ValueError for text that would be more than a line of a task's script."""
    if isinstance(value, str) and not value.isprintable():
        raise ValueError(f"launcher.{name} must be one line of printable text, got {value!r}")


def _require_positive(launcher: Local | Slurm, *names: str) -> None:
    for name in names:
        value = getattr(launcher, name)
        least = "> 0 and finite" if isinstance(value, float) else ">= 1"
        is_right = 0 < value < float("inf") if isinstance(value, float) else (value or 0) >= 1
        if value is not None and not is_right:
            raise ValueError(f"launcher.{name} must be {least}, got {value}")


def pack_runs(launcher: Local | Slurm, on: str) -> int:
    """Most runs in a pack on device `on`."""
    return launcher.pack_runs or _pack_runs(on)


def _pack_runs(on: str) -> int:
    return 16 if on == "cpu" else 64


@dataclass(frozen=True)
class Place:
    """Where a pack runs, and what it leaves; nothing here changes its numbers."""

    cache_root: str | None
    device: str
    threads: int
    save_models: bool = False
