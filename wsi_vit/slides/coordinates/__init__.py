"""Tiles that are kept as places only: chosen, and read from their slides when they are wanted."""
