"""The engine and the images are wanted in this folder alone."""

from __future__ import annotations

from tests.docker.fix_engine import container_engine, images

__all__ = ["container_engine", "images"]
