"""What was measured, as one JSON object and as a table."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

from service.bench.alone import Part
from service.bench.measure import Measured
from service.bench.meter import Cost

FORMAT = 1
_WIDTH = 150
_STAGES = {
    "windows": "readings to windows on the nodes",
    "head": "temporal.onnx, state read, head, strips into the rasters",
    "files": "rasters finished",
    "areas": "areas, change over 1 and 7 days, hotspots",
    "layer": "GeoPackage, item.json, files synced to the disk",
    "ledger": "recorded",
    "latest": "latest.json",
}


def to_json(measured: Measured) -> dict[str, Any]:
    """Return the report. What was left out is null, with the reason under `left_out`."""
    run, region = measured.run, measured.region
    total, cells = run.total, run.days[-1].cells
    end_to_end: dict[str, Any] = _stage(total, cells, f"the whole refresh, median of {len(run.days)} days")
    seconds = [day.total.seconds for day in run.days]
    end_to_end |= {
        "seconds_least": min(seconds),
        "seconds_most": max(seconds),
        "postgis_cells_per_s": None,
        "postgis_seconds": None,
    }
    if measured.postgis is not None:
        with_postgis = total.seconds + measured.postgis["cost"]["seconds"]
        end_to_end |= {"postgis_cells_per_s": cells / with_postgis, "postgis_seconds": with_postgis}
    return {
        "bench": FORMAT,
        "synthetic": bool(region["synthetic"]),
        "machine": dict(measured.machine),
        "bundle": region["bundle"],
        "region": {key: value for key, value in region.items() if key not in ("bundle", "newest_day")},
        "days": [day.day.isoformat() for day in run.days],
        "cells": cells,
        "stages": _stages(measured, cells),
        "end_to_end": end_to_end,
        "ratio": _ratios(measured, total, cells),
        "yardsticks": {
            "naive": measured.naive,
            "dense": measured.dense,
            "xgboost": measured.xgboost,
            "arid": measured.arid,
        },
        "limits": measured.limits,
        "share_of_matrix_limit": _shares(measured, total, cells),
        "disk": {
            "state_bytes": region["state_bytes"],
            "state_bytes_per_cell": region["state_bytes"] / max(1, region["valid_cells"]),
            "factors_bytes": region["factors_bytes"],
            "layer_bytes": run.days[-1].layer_bytes,
            "database_bytes": measured.postgis["database_bytes"] if measured.postgis else None,
            "database_days": measured.postgis["days"] if measured.postgis else None,
        },
        "peak_rss_bytes": run.peak_rss_bytes,
        "memory_how": run.memory_how,
        "left_out": dict(measured.left_out),
    }


def _stage(cost: Cost, cells: int, what: str, *, in_refresh: bool = True) -> dict[str, Any]:
    said = {"what": what, "in_refresh": in_refresh, "cells_per_s": cells / max(cost.seconds, 1e-9)}
    return said | cost.to_json()


def _stages(measured: Measured, cells: int) -> dict[str, Any]:
    """Stages of the refresh, which add up to it, and what was measured apart from it."""
    stages: dict[str, Any] = {}
    if measured.state is not None:
        what = "the spatial state built: factors read, convolved, quantised, written"
        if measured.state_earlier:
            what += " (measured when this folder's was built)"
        stages["state"] = _stage(measured.state, measured.region["valid_cells"], what, in_refresh=False)
    for name, cost in measured.run.stages.items():
        stages[name] = _stage(cost, cells, _STAGES.get(name, name))
    for name, values in measured.parts.items():
        part = Part(**values)
        # Every cell that was done stands in `cells`, so a rate is that of the whole region.
        stages["head_alone" if name == "head" else name] = {
            "what": f"alone: {part.what}",
            "in_refresh": False,
            "cells_per_s": part.cells / part.seconds,
            "seconds": part.seconds * cells / part.cells,
            "cpu_s": part.cpu_s * cells / part.cells,
            "bytes": round(part.bytes * cells / part.cells),
            "bytes_read": None,
            "bytes_written": None,
            "peak_rss_bytes": None,
        }
    if measured.postgis is not None:
        cost = Cost.of_json(measured.postgis["cost"])
        stages["postgis"] = _stage(cost, cells, f"delivery to {measured.postgis['server']}", in_refresh=False)
    return stages


def _ratios(measured: Measured, total: Cost, cells: int) -> dict[str, float | None]:
    """How many times faster the refresh is than each other way, end to end; None: not measured."""
    own = cells / total.seconds
    found: dict[str, float | None] = {"naive": None, "dense": None, "xgboost": None, "arid": None}
    for name, other in (("naive", measured.naive), ("xgboost", measured.xgboost)):
        if other is not None:
            found[name] = own / other["cells_per_s"]
    if measured.dense is not None:
        head = measured.run.stages.get("head")
        rest = (total.seconds - (head.seconds if head else 0.0)) / cells
        found["dense"] = own * (1 / measured.dense["cells_per_s"] + rest)
    if measured.arid is not None:
        found["arid"] = measured.arid["full_seconds"] / measured.arid["seconds"]
    return found


def _shares(measured: Measured, total: Cost, cells: int) -> dict[str, float | None]:
    """What share of the largest matrix product's speed each reaches, by the operations that it does."""
    names = ("temporal", "head", "convolution", "state", "end_to_end")
    found: dict[str, float | None] = dict.fromkeys(names)
    if measured.limits is None or not measured.parts:
        return found
    limit = measured.limits["matrix_flops"]
    parts = {name: Part(**values) for name, values in measured.parts.items()}
    for name in ("temporal", "head", "convolution"):
        found[name] = parts[name].flops / parts[name].seconds / limit
    if measured.state is not None:
        each = parts["convolution"].flops / parts["convolution"].cells
        found["state"] = each * measured.region["valid_cells"] / measured.state.seconds / limit
    flops = sum(parts[name].flops / parts[name].cells * cells for name in ("temporal", "head"))
    found["end_to_end"] = flops / total.seconds / limit
    return found


def print_table(report: dict[str, Any]) -> None:
    """Print a report for people."""
    console = Console(highlight=False, soft_wrap=True)
    # Where the output goes into a file, it need not fit a terminal.
    console.width = max(console.width, _WIDTH)
    machine, bundle, region = report["machine"], report["bundle"], report["region"]
    made_up = "SYNTHETIC region" if report["synthetic"] else region["name"]
    console.print(
        f"{made_up}: {report['cells']:,} cells; {machine['processor']}, {machine['workers']} of "
        f"{machine['cores']} cores, inference on the {region['device']}, ONNX Runtime "
        f"{machine['onnxruntime']}; bundle {bundle['name']} {bundle['version']} (P {bundle['patch']}, "
        f"C {bundle['factors']}, V {bundle['variables']}, D {bundle['channels']}, "
        f"k {bundle['forcing_cell']})",
        markup=False,
    )
    table = Table(box=None, pad_edge=False, header_style="")
    table.add_column("stage")
    for name in ("million cells/s", "s", "core s", "read MB", "written MB", "peak MiB"):
        table.add_column(name, justify="right")
    table.add_column("", no_wrap=True)
    stages = report["stages"]
    for name in [name for name in stages if stages[name]["in_refresh"]]:
        _row(table, name, stages[name])
    _row(table, "END TO END", report["end_to_end"])
    for name in [name for name in stages if not stages[name]["in_refresh"]]:
        _row(table, name, stages[name])
    console.print(table)
    for line in _lines(report):
        console.print(line, markup=False)


def _row(table: Table, name: str, stage: dict[str, Any]) -> None:
    def mega(key: str, unit: float) -> str:
        value = stage.get(key)
        return "" if value is None else f"{value / unit:,.0f}"

    table.add_row(
        name,
        f"{stage['cells_per_s'] / 1e6:,.3g}",
        f"{stage['seconds']:,.2f}",
        f"{stage['cpu_s']:,.2f}",
        mega("bytes_read", 1e6),
        mega("bytes_written", 1e6),
        mega("peak_rss_bytes", 1 << 20),
        stage["what"],
    )


def _lines(report: dict[str, Any]) -> list[str]:
    whole, ratio, yard = report["end_to_end"], report["ratio"], report["yardsticks"]
    lines = [
        f"end to end {whole['cells_per_s'] / 1e6:.2f} million cells/s "
        f"({whole['seconds_least']:.2f} to {whole['seconds_most']:.2f} s over {len(report['days'])} days); "
        f"peak memory {report['peak_rss_bytes'] / 2**20:,.0f} MiB ({report['memory_how']})"
    ]
    if whole["postgis_cells_per_s"] is not None:
        lines.append(f"with PostGIS {whole['postgis_cells_per_s'] / 1e6:.2f} million cells/s")
    for name in ("naive", "dense", "xgboost"):
        if ratio[name] is not None:
            other = yard[name]
            chosen = f", {other['chosen']}" if other["chosen"] else ""
            lines.append(
                f"{ratio[name]:,.3g} times {name}: {other['what']}{chosen}: "
                f"{other['cells_per_s']:,.0f} cells/s on {other['cells']:,} cells"
            )
    if yard["arid"] is not None:
        arid = yard["arid"]
        same = "identical to" if arid["identical"] else "DIFFERENT FROM"
        lines.append(
            f"arid day, {arid['changed_share']:.1%} of the windows changed: {ratio['arid']:.2f} times "
            f"faster than computed in full ({arid['seconds']:.2f} s against {arid['full_seconds']:.2f} s), "
            f"files {same} those of the full refresh"
        )
    limits = report["limits"]
    if limits is not None:
        lines += [
            f"limits: {limits['matrix_flops'] / 1e12:.3f} TFLOP/s ({limits['matrix_how']})",
            f"        {limits['copy_bytes_per_s'] / 1e9:.1f} GB/s ({limits['copy_how']})",
            f"        {limits['disk_bytes_per_s'] / 1e9:.2f} GB/s ({limits['disk_how']})",
        ]
        shares = {name: share for name, share in report["share_of_matrix_limit"].items() if share is not None}
        if shares:
            said = ", ".join(f"{name} {share:.0%}" for name, share in shares.items())
            lines.append(f"share of the matrix limit: {said}")
    disk = report["disk"]
    lines.append(
        f"disk: state {disk['state_bytes'] / 1e9:.2f} GB ({disk['state_bytes_per_cell']:.0f} B a cell"
        f"{'' if report['region']['state_stored'] else ', RECOMPUTED at each refresh'}), "
        f"factors {disk['factors_bytes'] / 1e9:.2f} GB, a layer {disk['layer_bytes'] / 1e6:.0f} MB"
    )
    lines += [f"left out: {name}: {why}" for name, why in report["left_out"].items()]
    return lines
