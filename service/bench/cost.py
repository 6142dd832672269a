"""What a refresh takes on other regions and machines, from what was measured on one.

Per cell, each stage has a cost in core-seconds, and a share that does not spread over cores, which follows
from how many cores it kept busy (Amdahl 1967). A stage that reads the state cannot be faster than memory, or
the disk where the state does not fit in memory. Where the head runs elsewhere, on a card or on a cluster's
workers, what its stage does beside it (temporal.onnx, writing, counting) stays on the first machine's cores.
Whatever is not measured is marked as such.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from service.errors import UsageError

MEASURED, EXTRAPOLATED = "measured", "extrapolated"
_HEAD = "head"
_GIB = 1 << 30


@dataclass(frozen=True)
class Place:
    """A region of so many cells of 30 m."""

    name: str
    cells: int


@dataclass(frozen=True)
class Machine:
    """What a refresh would run on. `None`: as on the machine that was measured."""

    name: str
    cores: int
    memory_bytes: int | None = None
    memory_bytes_per_s: float | None = None
    disk_bytes_per_s: float | None = None
    gpu_flops: float | None = None  # float32 matrix products; the head runs there
    gpu_bytes_per_s: float | None = None
    machines: int = 1


# Areas at 30 m: Kerman as its outline has it; the others by area in square kilometres / 0.0009.
PLACES = (
    Place("province (Kerman, 183,000 km²)", 203_000_000),
    Place("country (Iran, 1.65 million km²)", 1_831_000_000),
    Place("continent (Europe, 10.2 million km²)", 11_300_000_000),
)
# The figures of other machines are those of their makers' data sheets, not measured here.
MACHINES = (
    Machine("2 cores", 2),
    Machine("64 cores", 64, 512 * _GIB, 300e9, 6e9),
    Machine("one H200-class GPU, 16 cores", 16, 256 * _GIB, 200e9, 6e9, 67e12, 4.8e12),
    Machine("cluster, 16 x 64 cores", 64, 512 * _GIB, 300e9, 6e9, machines=16),
)


@dataclass(frozen=True)
class Estimate:
    """What one layer takes in one place on one machine."""

    place: str
    machine: str
    cells: int
    marked: str  # MEASURED or EXTRAPOLATED
    seconds: float
    state_seconds: float  # building the spatial state, once
    memory_bytes: float  # resident, in the process that refreshes
    state_bytes: float
    layer_bytes: float
    database_bytes: float | None  # with as many days as were delivered; None: not measured
    bottleneck: str

    def to_json(self) -> dict[str, Any]:
        """Return it by field."""
        return asdict(self)


def estimates(
    reports: Sequence[dict[str, Any]],
    places: Sequence[Place] = PLACES,
    machines: Sequence[Machine] = MACHINES,
) -> list[Estimate]:
    """Return what reports come to elsewhere; those that were measured themselves come first.

    The costs per cell are those of the report with the most cells that has all parts (without `--only`);
    memory is that of all reports. Raises UsageError without such a report, and for one of a single worker.
    """
    if not reports:
        raise UsageError("an extrapolation needs a report of 'colluvium bench --json'")
    ordered = sorted(reports, key=lambda report: int(report["cells"]))
    largest = next((one for one in reversed(ordered) if "head_alone" in one["stages"]), ordered[-1])
    if largest["machine"]["workers"] < 2:
        raise UsageError(
            "from a report of one worker it cannot be told how the stages spread over cores; measure with "
            "--workers 2 or more"
        )
    found = [_measured(report) for report in ordered]
    return found + [_elsewhere(largest, ordered, place, machine) for place in places for machine in machines]


def read_reports(paths: Sequence[Path]) -> list[dict[str, Any]]:
    """Read what `colluvium bench --json` printed. Raises UsageError for anything else."""
    found = []
    for path in paths:
        try:
            values = json.loads(path.read_text("utf-8"))
            if values["bench"] != 1 or not values["end_to_end"]["seconds"]:
                raise ValueError
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UsageError(f"{path} is not what 'colluvium bench --json' of this version prints") from error
        found.append(values)
    return found


def serial_share(busy: float, workers: int) -> float:
    """Return the share of a stage's work that one core does alone, from the cores that it kept busy.

    Amdahl (1967): with a serial share f of the work, `workers` cores are busy as 1 / (f + (1 - f) / workers).
    """
    if workers <= 1:
        return 0.0
    busy = min(max(busy, 1.0), float(workers))
    return (1 / busy - 1 / workers) / (1 - 1 / workers)


def stage_seconds(
    stage: dict[str, Any], measured_cells: int, workers: int, cells: float, cores: int
) -> float:
    """Return how long a measured stage takes for `cells` on `cores`, by its core-seconds a cell."""
    core_s = stage["cpu_s"] / measured_cells * cells
    busy = stage["cpu_s"] / max(stage["seconds"], 1e-9)
    if busy < 1:  # it waited for the disk, and more cores would wait as long
        return float(stage["seconds"] / measured_cells * cells)
    share = serial_share(busy, workers)
    return float(core_s * (share + (1 - share) / cores))


def _measured(report: dict[str, Any]) -> Estimate:
    stages = _refresh_stages(report)
    state = report["stages"].get("state")
    return Estimate(
        report["region"]["name"],
        f"{report['machine']['workers']} cores",
        report["cells"],
        MEASURED,
        report["end_to_end"]["seconds"],
        state["seconds"] if state else float("nan"),
        report["peak_rss_bytes"],
        report["disk"]["state_bytes"],
        report["disk"]["layer_bytes"],
        report["disk"]["database_bytes"],
        max(stages, key=lambda name: stages[name]["seconds"]),
    )


def _elsewhere(
    report: dict[str, Any], ordered: Sequence[dict[str, Any]], place: Place, machine: Machine
) -> Estimate:
    measured_cells, workers = report["cells"], report["machine"]["workers"]
    # A cluster's machines take a share of the tiles each; what is serial stays on the first.
    own = place.cells / machine.machines
    state_bytes = report["disk"]["state_bytes_per_cell"] * place.cells
    seconds: dict[str, float] = {}
    for name, stage in _refresh_stages(report).items():
        if name != _HEAD or (machine.gpu_flops is None and machine.machines == 1):
            seconds[name] = stage_seconds(stage, measured_cells, workers, place.cells, machine.cores)
            continue
        alone, beside = _head_and_beside(report)
        seconds["beside the head"] = stage_seconds(
            beside, measured_cells, workers, place.cells, machine.cores
        )
        if machine.gpu_flops is not None:
            seconds[name] = _on_gpu(report, machine, place.cells, state_bytes)
        else:
            seconds[name] = stage_seconds(alone, measured_cells, workers, own, machine.cores)
    if _HEAD in seconds:
        seconds["state read"] = _state_read(report, machine, state_bytes / machine.machines)
    # The state is read while the head runs: the slower of the two counts.
    reading, head = seconds.pop("state read", 0.0), seconds.get(_HEAD, 0.0)
    if reading > head:
        seconds["reading the state"] = reading
        seconds.pop(_HEAD, None)
    state = report["stages"].get("state")
    scale = place.cells / measured_cells
    database = report["disk"]["database_bytes"]
    return Estimate(
        place.name,
        machine.name,
        place.cells,
        EXTRAPOLATED,
        sum(seconds.values()),
        stage_seconds(state, measured_cells, workers, own, machine.cores) if state else float("nan"),
        _memory(ordered, place.cells),
        state_bytes,
        report["disk"]["layer_bytes"] * scale,
        database * scale if database is not None else None,
        max(seconds, key=lambda name: seconds[name]),
    )


def _head_and_beside(report: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the head by itself, and what its stage does beside it, with as many cores busy as in the stage.

    Raises UsageError where the head was not measured by itself.
    """
    stage, alone = report["stages"][_HEAD], report["stages"].get("head_alone")
    if alone is None:
        raise UsageError("the report lacks the head by itself; measure again without --only")
    core_s = max(0.0, stage["cpu_s"] - alone["cpu_s"])
    busy = max(1.0, stage["cpu_s"] / max(stage["seconds"], 1e-9))
    return alone, {"cpu_s": core_s, "seconds": core_s / busy}


def _state_read(report: dict[str, Any], machine: Machine, state_bytes: float) -> float:
    limits = report["limits"] or {}
    memory = machine.memory_bytes or report["machine"]["memory_bytes"]
    if state_bytes < 0.8 * memory:
        # A copy counts what is read and what is written; a state is only read.
        rate = machine.memory_bytes_per_s or limits.get("copy_bytes_per_s")
    else:
        rate = machine.disk_bytes_per_s or limits.get("disk_bytes_per_s")
    return state_bytes / float(rate) if rate else 0.0


def _on_gpu(report: dict[str, Any], machine: Machine, cells: int, state_bytes: float) -> float:
    """The head where it reaches the share of the card's matrix limit that it reaches of the processor's.

    A state that does not fit on the card comes over its bus each day, at the disk's or the memory's pace,
    which `_state_read` says; here it is read once from the card's own memory.
    """
    share = report["share_of_matrix_limit"]["head"]
    alone = report["stages"].get("head_alone")
    limits = report["limits"]
    if share is None or alone is None or limits is None or machine.gpu_flops is None:
        raise UsageError("the report lacks the head by itself, or the limits; measure again without --only")
    each = float(limits["matrix_flops"] * alone["seconds"] / report["cells"])
    return max(each * cells / machine.gpu_flops, state_bytes / (machine.gpu_bytes_per_s or float("inf")))


def _memory(ordered: Sequence[dict[str, Any]], cells: int) -> float:
    """Return resident memory: the line through the smallest and the largest region that were measured.

    With one report, its peak: how memory grows with the region is then not known.
    """
    small, large = ordered[0], ordered[-1]
    apart = large["cells"] - small["cells"]
    slope = max(0.0, (large["peak_rss_bytes"] - small["peak_rss_bytes"]) / apart) if apart else 0.0
    return float(large["peak_rss_bytes"] + slope * (cells - large["cells"]))


def _refresh_stages(report: dict[str, Any]) -> dict[str, Any]:
    return {name: stage for name, stage in report["stages"].items() if stage["in_refresh"]}
