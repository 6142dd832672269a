"""The report of a comparison: one HTML file with everything in it.

inputs = ReportInputs(read_comparison(folder / "comparison.json"), predictions=[...], ...)
write_report(inputs, folder / "report.html")
"""

from trainer.report.comparison import Comparison, read_comparison
from trainer.report.inputs import (
    Collinearity,
    HighShare,
    Importance,
    ImportanceRow,
    OcclusionExample,
    Picture,
    Predictions,
    RateLine,
    Recipe,
    ReportInputs,
    TrainingRun,
)
from trainer.report.page import render_report, write_report

__all__ = [
    "Collinearity",
    "Comparison",
    "HighShare",
    "Importance",
    "ImportanceRow",
    "OcclusionExample",
    "Picture",
    "Predictions",
    "RateLine",
    "Recipe",
    "ReportInputs",
    "TrainingRun",
    "read_comparison",
    "render_report",
    "write_report",
]
