"""Haematoxylin and eosin: told from a slide's pixels, measured, and brought to a target's.

Stains add up in optical density (Beer-Lambert), so everything here is linear there. A fit that
cannot be trusted is no fit: the slide keeps its colours, and says why (`fit.Outcome`).
"""
