"""Landslides seen from space: a scene in, outlines with confidence out, on ONNX Runtime.

bands       the bands by name, and the orders in which datasets hold them
manifest    what a detector says of itself
findings    what a detection run hands on: outlines, and where somebody could have seen one
"""
