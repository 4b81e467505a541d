"""How unlike its training a picture is, by what a classifier's head sees of it."""
