"""Models that see landslides in satellite scenes: the U-Net family on patches in the Landslide4Sense layout.

    data        patches by band name, statistics, augmentation, splits     synthetic   a made-up set
    networks    thirteen models with any number of bands                   fit         training, with resume
    judge       pixels, objects, regions, intervals                        commands    `colluvium detector`

The service runs what is exported here, and imports nothing of it.
"""
