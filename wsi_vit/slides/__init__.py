"""From a slide file to tiles with tissue on them: the only door to OpenSlide and tifffile."""
