"""Our own Vision Transformer: what it is made of, how it runs, whose weights it takes."""
