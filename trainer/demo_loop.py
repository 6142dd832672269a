"""`colluvium demo --loop`: from a storm to a promoted model, in one folder; SYNTHETIC from end to end.

    run_loop(folder, scale=FULL, detector=DETECTOR, say=print) -> the summary, a dict that is printed as JSON

The demo's region with the maps around its storm; scars where its slope model slid, painted into two views
from space; then what a person would type: detect, accept, close, verify, train, challenger, verify, promote,
refresh. Every step is the real command in a process of its own, and printed as it is typed.

It shows that the parts work together. That the promoted model does better on this storm shows nothing more:
it was trained on it.
"""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import shapely

from service.detection.manifest import MANIFEST
from service.detection.writing import read_findings
from service.errors import InputError, UsageError
from service.event_places import shape_of
from service.files import DETECTIONS
from service.ledger import Ledger
from service.region import open_region
from service.settings import load_settings
from service.stamps import utc_now
from service.workshop import ledger_path
from trainer.demo import CONFIG, settings_text, shipped
from trainer.demo_scene import TRUTH, days_around, plan_scene, write_scenes
from trainer.pictures import MapView, before_and_after
from trainer.synthetic.region import LABEL, make_region, write_region
from trainer.synthetic.weather import LAST_DAY, STORM_LAST

SLID = STORM_LAST + timedelta(days=1)  # the rain of a day acts on the next: the storm's wettest morning
DETECTOR = CONFIG / "demo" / "detector"
CAUTION = (
    "SYNTHETIC: region, weather, landslides, scenes and detector are made up. The operator knows where it "
    "slid, and stands for a person who lays both pictures side by side. The promoted model was trained on "
    "the storm that it is judged by here: its figures prove that the loop closes, and nothing of its worth"
)
_OPERATOR = ("--by", "automatic operator of the demo")
_MARK = "LOOP.txt"
_MADE = ("source", "scenes", "data", "challenger")
_HISTORY = timedelta(days=66)  # of readings before the first landslide: a window and a gap

Say = Callable[[str], None]


@dataclass(frozen=True)
class Scale:
    """How much of everything there is: for people, or for a test."""

    cells: int  # of 30 m, along one side of the region
    days: int  # of maps, until the demo's last day
    pixels: int  # of 10 m, along one side of the scenes
    slides: int
    first_year: int  # of the inventory that the challenger is trained on
    epochs: int


FULL = Scale(cells=512, days=12, pixels=768, slides=40, first_year=2021, epochs=4)
SMALL = Scale(cells=192, days=8, pixels=384, slides=12, first_year=2019, epochs=1)


@dataclass
class Steps:
    """Runs commands as a person would, prints each as it is typed, and keeps what it said and took."""

    say: Say
    done: list[dict[str, Any]] = field(default_factory=list)

    def run(self, *words: str, allowed: tuple[int, ...] = (0,)) -> dict[str, Any]:
        """Run `colluvium WORDS`; return what it printed as JSON, {} where that is none.

        Raises InputError where it ends with another status than is `allowed`.
        """
        typed = shlex.join(["colluvium", *words])
        self.say(f"$ {typed}")
        started = time.monotonic()
        command = [sys.executable, "-m", "service", *words]
        said: dict[str, Any] = {}
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None  # noqa: S101 - for the type checker
            for line in child.stdout:
                if line.startswith("{"):
                    said = dict(json.loads(line))
                else:
                    self.say(f"  {line.rstrip()}")
        seconds = round(time.monotonic() - started, 1)
        self.done.append({"command": typed, "status": child.returncode, "seconds": seconds})
        if child.returncode not in allowed:
            raise InputError(f"the loop stopped at a command with exit status {child.returncode}: {typed}")
        return said

    @property
    def status(self) -> int:
        """How the last command ended."""
        return int(self.done[-1]["status"])


def run_loop(
    folder: Path, *, scale: Scale = FULL, detector: Path = DETECTOR, say: Say = lambda _: None
) -> dict[str, Any]:
    """Run the loop in `folder` and return its summary.

    Raises UsageError without torch or a detector, or for a folder that holds something else; InputError where
    a command of the loop fails, with the command.
    """
    _refuse(folder, detector)
    started = time.monotonic()
    steps, config = Steps(say), str(folder / "region.toml")
    say(CAUTION)
    say("making a SYNTHETIC region, its weather, the landslides of its storm, and two views from space")
    truth = _prepare(folder, scale, detector)
    of = ("-c", config)
    first = LAST_DAY - timedelta(days=scale.days - 1)
    steps.run("factors", *of, "--json")
    steps.run("ingest", *of, "--no-deliver", "--json")
    steps.run("backfill", *of, "--since", str(first), "--until", str(LAST_DAY), "--no-deliver", "--json")

    data_dir = load_settings(folder / "region.toml").data_dir
    found = {name: _look(steps, folder, name, of, data_dir) for name in ("before", "after")}
    judged = _verify(steps, folder, of, "display")

    steps.run("train", *of, "--out", str(folder / "challenger"), "--overwrite", "--json")
    steps.run("challenger", "run", *of, "--since", str(first), "--json")
    beside = steps.run("challenger", "list", *of, "--layers", str(scale.days), "--json")
    judged_challenger = _verify(steps, folder, of, "challenger")

    promoted, refused = _promote(steps, of)
    served = steps.run("refresh", *of, "--day", LAST_DAY.isoformat(), "--no-deliver", "--json")
    status = steps.run("status", *of, "--json")

    say("drawing the maps of the storm, as displayed and by the challenger")
    pictures = _pictures(folder, found)
    return {
        "demo": "SYNTHETIC",
        "note": LABEL,
        "caution": CAUTION,
        "folder": str(folder.resolve()),
        "slid_on": SLID.isoformat(),
        "truth": truth,
        "scenes": found,
        "verification": {"display": judged, "challenger": judged_challenger},
        "agreement": beside.get("agreement"),
        "promotion": {
            key: promoted.get(key) for key in ("digest", "instead_of", "by", "reason", "spatial_states_taken")
        }
        | {"refused_without_force": refused},
        "served": {"day": served["day"], "model": served["model"], "layer": served["layer"]},
        "status": status.get("promotion"),
        "pictures": [str(path.resolve()) for path in pictures],
        "reports": [str(path.resolve()) for path in sorted(folder.glob("verification-*.html"))],
        "steps": steps.done,
        "seconds_total": round(time.monotonic() - started, 1),
    }


def _refuse(folder: Path, detector: Path) -> None:
    """Raise UsageError for whatever would stop the loop half way."""
    if importlib.util.find_spec("torch") is None:
        raise UsageError("the loop trains a model, which needs torch: pip install 'colluvium[trainer]'")
    if not (detector / MANIFEST).exists():
        raise UsageError(
            f"no detector at {detector}: the loop runs from a checkout, or with one of your own (--detector)"
        )
    if folder.exists() and any(folder.iterdir()):
        if not (folder / _MARK).exists():
            raise UsageError(f"{folder} is not empty and holds no loop; give another folder with --dir")
        for name in _MADE:  # the loop before this one: its inventory would be a part of this one's
            shutil.rmtree(folder / name, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _MARK).write_text(f"{CAUTION}.\n", "utf-8")


def _prepare(folder: Path, scale: Scale, detector: Path) -> dict[str, Any]:
    """Write the made-up world: region, readings, inventory, settings, scenes; return the truth."""
    template, bundle = shipped()
    region = make_region(size=scale.cells)
    first = date(scale.first_year, 10, 1)
    # The inventory ends before the storm: its landslides are in no file until they are detected.
    write_region(region, folder / "source", since=first - _HISTORY, landslides=True)
    config = folder / "region.toml"
    config.write_text(_settings_text(settings_text(template, bundle), scale, detector), "utf-8")
    before, after = days_around(SLID)
    plan = plan_scene(region, SLID, pixels=scale.pixels, slides=scale.slides)
    figures = write_scenes(plan, folder / "scenes", before=before, after=after)
    return {
        "slides": len(plan.slides),
        "area_m2": round(sum(slide.area_m2 for slide in plan.slides)),
        "mean_chance": round(sum(slide.chance for slide in plan.slides) / len(plan.slides), 3),
        "mean_chance_of_the_ground": round(plan.mean_chance, 4),
        "scenes": figures,
    }


def _look(steps: Steps, folder: Path, name: str, of: tuple[str, ...], data_dir: Path) -> dict[str, Any]:
    """Detect in one scene, decide on all that was found, close its review; return what came of it.

    The operator stands for a person who lays both pictures side by side: what lies on a scar is accepted.
    """
    scars = _scars(folder, name)
    steps.run("detect", "--scene", str(folder / "scenes" / name), *of, "--json")
    listed = steps.run("detections", "scenes", *of, "--json")["scenes"]
    scene = max(listed, key=lambda item: int(item["number"]))
    number = str(scene["number"])
    waiting = steps.run("detections", "list", *of, "--scene", number, "--state", "proposed", "--json")
    numbers = {item["uid"]: str(item["number"]) for item in waiting["detections"]}
    (place,) = (data_dir / DETECTIONS).glob(f"{scene['scene']}-*")
    outlines = {item.uid: shape_of(item.outline) for item in read_findings(place)[0].detections}
    seen = {uid: scars.query(outlines[uid], predicate="intersects").tolist() for uid in numbers}
    on_a_scar = [numbers[uid] for uid, hit in seen.items() if hit]
    if on_a_scar:
        steps.run(
            "detections", "accept", *on_a_scar, "--day", SLID.isoformat(), "--again", *of, *_OPERATOR,
            "--reason", f"a scar that was not there before; the storm's wettest morning was {SLID}", "--json",
        )  # fmt: skip
    if len(on_a_scar) < len(numbers):
        why = "no scar" if name == "after" else "nothing had slid before the storm"
        steps.run("detections", "reject", "--all-of", number, *of, *_OPERATOR, "--reason", why, "--json")
    steps.run(
        "detections", "close", number, *of, *_OPERATOR,
        "--reason", "the demo takes the scene for read; nobody looked for what was missed", "--json",
    )  # fmt: skip
    return {
        "number": int(number),
        "found": len(numbers),
        "accepted": len(on_a_scar),
        "scars": len(scars),
        "scars_found": len({scar for hit in seen.values() for scar in hit}),
    }


def _scars(folder: Path, name: str) -> shapely.STRtree:
    """Return the true scars that a scene shows, in degrees."""
    truth = json.loads((folder / "scenes" / TRUTH).read_text("utf-8"))
    return shapely.STRtree([shape_of(item["geometry"]) for item in truth["features"] if name == "after"])


def _verify(steps: Steps, folder: Path, of: tuple[str, ...], what: str) -> dict[str, Any]:
    words = ["verify", *of, "--report", str(folder / f"verification-{what}.html"), "--json"]
    record = steps.run(*words, *(["--challenger"] if what == "challenger" else []))
    curve: dict[str, Any] = next((item for item in record["curves"] if item["period"] == "all"), {})
    return {
        "model": record["model"],
        "hits": record["hits"],
        "misses": record["misses"],
        "not_decided": record["undecided"] + record["unknown"],
        "in_hindsight": record["hindsight"],
        "hit_rate": record["hit_rate"],
        "auc": curve.get("auc"),
        "auc_interval": [curve.get("auc_low"), curve.get("auc_high")],
        "looks": record["looks"],
    }


def _promote(steps: Steps, of: tuple[str, ...]) -> tuple[dict[str, Any], bool]:
    """Promote the challenger, with force where that is refused; return the promotion, and whether it was."""
    reason = (
        "the loop of the demo is to close; trained and judged on the same storm, which proves nothing more"
    )
    words = ("bundle", "promote", *of, *_OPERATOR, "--reason", reason, "--json")
    promoted = steps.run(*words, allowed=(0, 2))
    if steps.status == 0:
        return promoted, False
    steps.say("refused, for the reason above; a person who knows better may force it, and the record says so")
    return steps.run(*words, "--force"), True


def _settings_text(demo: str, scale: Scale, detector: Path) -> str:
    """Return the demo's settings without its forecasts and its share, with what the loop needs."""
    changes = (
        (r"# A SYNTHETIC ensemble.*?(?=\n\[forcing\])", ""),
        (r"\[\[exporters\]\].*\Z", ""),
        (r"\[bundle\]\n", '[bundle]\nchallenger = "challenger"\n'),
    )
    text = demo
    for pattern, instead in changes:
        text, found = re.subn(pattern, instead, text, flags=re.DOTALL)
        if not found:
            raise UsageError(f"config/demo.toml has lost what {pattern!r} finds, which the loop changes")
    return (
        text.rstrip()
        + "\n"
        + _LOOP.format(
            detector=json.dumps(str(detector.resolve())),
            epochs=scale.epochs,
            first=date(scale.first_year, 10, 1),
            last=LAST_DAY,
        )
    )


_LOOP = """
[detection]
detector = {detector}

# How the loop trains its challenger: the demo's ways, on fewer years and epochs.
[training]
name = "demo-loop"
version = "1"
created = 2026-11-21T00:00:00Z
data = "SYNTHETIC landslides of a made-up region, and those that a detector found in a SYNTHETIC scene"
seed = 4
epochs = {epochs}
rain_penalty = 30.0
breaks = [0.02, 0.2, 0.52] # the demo's
first_day = {first}
last_day = {last}
notes = ["Trained in minutes by 'colluvium demo --loop' to show that the loop closes; not to be compared."]

[training.hyperparameters]
augment = "square"

[training.reference] # of its output, from which drift is measured: it would take most of a short training
days = 0

[training.inventory]
path = "source/landslides.csv"
accuracy_column = "accuracy_m"
with_events = true # the ledger's inventory beside the file: what was detected and accepted

[training.sampling]
spatial = 2
random = 1
season = 1
wet = 1
minimum_distance_m = 60.0

[training.split]
shares = [0.6, 0.2, 0.2]
both = 1

[[training.variables]]
name = "rain"
unit = "mm"
log = true

[[training.variables]]
name = "level_below_full"
unit = "m"

[[training.variables]]
name = "level_change_1d"
unit = "m"

[[training.variables]]
name = "level_change_7d"
unit = "m"

[[training.variables]]
name = "level_change_30d"
unit = "m"
"""


def _pictures(folder: Path, found: dict[str, dict[str, Any]]) -> list[Path]:
    """Draw the storm's map as displayed and by the challenger; name the pictures of the scenes too."""
    settings = load_settings(folder / "region.toml")
    from service.challenger import challenger_ledger

    with (
        Ledger(ledger_path(settings), utc_now, make=False) as shown,
        challenger_ledger(settings, utc_now) as own,
    ):
        layers = shown.current(SLID), own.current(SLID)
        scenes = [shown.detections.scene(item["number"]) for item in found.values()]
    if layers[0] is None or layers[1] is None or settings.grid.dem is None:
        raise InputError(f"there are no two maps of {SLID} to draw")
    views = [
        MapView(
            day=layer.day,
            data_until=layer.data_until,
            class_path=layer.folder / "class.tif",
            shares={area.label: area.ratio or 0.0 for area in layer.areas if area.zone == ""},
        )
        for layer in layers
        if layer is not None
    ]
    region = open_region(settings)
    path = folder / "map_display_challenger.png"
    before_and_after(
        path,
        views[0],
        views[1],
        title="the morning on which it slid, as displayed and by a challenger trained on it",
        names=("On display", "Challenger"),
        synthetic=settings.region.synthetic,
        dem=settings.grid.dem,
        outlines=[(zone.geometry, zone.name.removesuffix(" (synthetic)")) for zone in region.zones],
    )
    return [path, *(scene.folder / "picture.png" for scene in scenes)]
