"""What a run was, kept where no server is needed, and told to MLflow when there is one.

`journal` is the truth: an append-only file in the run's folder. `sync` feeds MLflow from it exactly
once. `registry` keeps model versions, their aliases and every decision made about them. MLflow is
imported here and nowhere else, inside the functions that need it.
"""
