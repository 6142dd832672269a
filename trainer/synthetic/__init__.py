"""The demo's region, made up from a seed: SYNTHETIC terrain, weather, reservoirs and landslides.

    terrain.py   elevation, drainage, two lakes          cover.py    rock groups, land use, faults, roads ...
    weather.py   daily rain and reservoir levels         slopes.py   the physical model that draws landslides
    region.py    puts them together and writes the files of a region
    kerman*.py   another region, larger and with a history of its own, that models are compared on

Nothing here describes a real place. The region stands in Kerman's UTM zone and has its kind of climate and
relief; its names are invented, and every file says that it is synthetic.
"""
