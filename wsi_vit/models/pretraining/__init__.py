"""Learning from images that nobody has labelled."""
