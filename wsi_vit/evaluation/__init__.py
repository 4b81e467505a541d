"""How good a model is: figures with intervals over patients, trivial rules, pictures, a report.

`evaluate` measures, `report` shows, `compare` sets two measurements side by side.
"""
