"""The one training loop, its checkpoints, and the supervised process it runs in."""
