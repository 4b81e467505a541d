"""Figures, thresholds and pictures where an example has several labels."""
