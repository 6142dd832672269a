"""All feeds of a region on one address of this machine, with the faults that real ones have.

`truth` says what fell and how high the water stood; `view` what a feed shows of it at a moment, faults of
the numbers included; the modules of `formats` put that into each service's published form; `server` sends
it over HTTP, faults of the way included. What is real stays untouched: nothing here is ever published.
"""
