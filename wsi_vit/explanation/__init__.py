"""What a model looked at: maps over a picture or a slide, and whether they can be believed."""
