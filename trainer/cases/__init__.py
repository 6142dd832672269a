"""The two real cases that the models are held against: labelled squares, and dated events with rain.

python -m trainer.cases.squares    May 2023: where the ground failed, judged without what leaks the label
python -m trainer.cases.dated      ITALICA: when it failed, against rainfall thresholds
"""
