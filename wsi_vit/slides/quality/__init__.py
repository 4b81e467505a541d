"""What speaks against a tile or a slide: blur, pen, folds, empty glass. Measured, never guessed."""
