"""Memory and time of `colluvium detect` on a whole Sentinel-2 tile: 10,980 x 10,980 cells, 14 planes.

    python tests/benchmarks/bench_detect.py [--height 10980] [--width 10980] [--model DETECTOR] [--json]

The scene is made up: smooth ground in files of 10, 20 and 60 m as Level 2A has them (GeoTIFF, because writing
JPEG 2000 takes longer than the measurement), a DEM of 30 m, and cloud over a share of it. Without --model the
detector is a graph of six nodes: what is measured is then everything but the network. --seen 0.1 leaves out
the patches under cloud, which a network would need as much time for as for others.

The look itself runs in a process of its own; memory is its highest resident set.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# The benchmark runs as a script from a checkout.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import click
import numpy as np
import rasterio
from affine import Affine

from service.detection.bands import BY_NAME, LANDSLIDE4SENSE
from tests.fix_detection import CRS, LEFT, TOP, make_detector

GOAL_BYTES = 2 * 2**30


@click.command()
@click.option("--height", default=10_980, show_default=True, help="Cells of 10 m; a multiple of 6.")
@click.option("--width", default=10_980, show_default=True, help="Cells of 10 m; a multiple of 6.")
@click.option("--seen", default=0.1, show_default=True, help="Share of the scene without cloud.")
@click.option("--model", type=click.Path(path_type=Path), help="A detector; default: six nodes, patch 128.")
@click.option("--workers", default=1, show_default=True, help="Threads.")
@click.option("--look", type=click.Path(path_type=Path), hidden=True)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def main(
    height: int, width: int, seen: float, model: Path | None, workers: int, look: Path | None, as_json: bool
) -> None:
    """Measure a look at a made-up scene."""
    if look is not None:
        click.echo(json.dumps(_look(look, model or look / "detector", workers)))
        return
    with tempfile.TemporaryDirectory(prefix="bench-detect-") as name:
        folder = Path(name)
        make_scene(folder / "scene", height, width, seen)
        make_detector(folder / "detector", bands=LANDSLIDE4SENSE, patch=128)
        command = [sys.executable, __file__, "--look", name, "--workers", str(workers)]
        command += ["--model", str(model.resolve())] if model else []
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    found = {"height": height, "width": width, "seen": seen, **json.loads(done.stdout.splitlines()[-1])}
    found["cells_per_cpu_second"] = height * width / found["cpu_seconds"]
    if as_json:
        click.echo(json.dumps(found))
        return
    for name, value in found.items():
        click.echo(f"{name:<22} {value:>16,.3g}" if isinstance(value, float) else f"{name:<22} {value:>16,}")
    met = "met" if found["peak_bytes"] < GOAL_BYTES else "MISSED"
    click.echo(f"{found['peak_bytes'] / 2**30:.2f} GiB at the most, below 2 GiB: {met}")


def make_scene(folder: Path, height: int, width: int, seen: float) -> None:
    """Write the bands of a Level-2A tile, elevation, and clouds over all but the northern part."""
    folder.mkdir()
    spectral = [name for name in LANDSLIDE4SENSE if BY_NAME[name].unit == "reflectance"]
    for number, name in enumerate(spectral):
        size = int(BY_NAME[name].resolution_m)
        _write(folder / f"{name}.tif", height * 10 // size, width * 10 // size, size, 500 + 100 * number)
    _write(folder / "DEM.tif", height // 3, width // 3, 30, 300)
    rows = int(height // 2 * seen)
    _write(folder / "SCL.tif", height // 2, width // 2, 20, 4, classes=rows)
    said = {"id": "bench", "sensed_on": "2026-03-04", "scale": 1e-4, "offset": -0.05, "synthetic": True}
    (folder / "scene.json").write_text(json.dumps(said), "utf-8")


def _write(path: Path, height: int, width: int, size: int, base: int, classes: int | None = None) -> None:
    across = (200 * np.sin(np.arange(width) * size / 3_000)).astype(np.int32)
    with rasterio.open(
        path, "w", driver="GTiff", height=height, width=width, count=1, crs=CRS, tiled=True,
        dtype="uint16" if classes is None else "uint8", compress="deflate", zlevel=1,
        transform=Affine(size, 0, LEFT, 0, -size, TOP),
    ) as out:  # fmt: skip
        for first in range(0, height, 512):
            rows = np.arange(first, min(first + 512, height))
            if classes is None:
                strip = base + 250 + across + (50 * np.sin(rows * size / 700)).astype(np.int32)[:, None]
            else:
                strip = np.where(rows < classes, base, 9)[:, None].repeat(width, axis=1)
            window = rasterio.windows.Window(0, first, width, len(rows))
            out.write(strip.astype(out.dtypes[0]), 1, window=window)


def _look(folder: Path, model: Path, workers: int) -> dict[str, float]:
    from service.detection.detect import DetectOptions, detect_scene
    from service.detection.detector import Detector
    from service.detection.scene import open_scene

    begun, used = time.monotonic(), time.process_time()
    scene = open_scene(folder / "scene")
    detector = Detector.load(model, workers=workers)
    findings = detect_scene(scene, detector, DetectOptions(workers=workers), folder / "out")
    return {
        "outlines": len(findings.detections),
        "seen_share": findings.seen_share,
        "wall_seconds": time.monotonic() - begun,
        "cpu_seconds": time.process_time() - used,
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


if __name__ == "__main__":
    main()
