"""The networks of this line by name; torch is not imported, so that params can be checked fast.

<encoder>-<aggregation>: how a view is seen, and how the views are brought together on the ground.
"""

from __future__ import annotations

ENCODERS = ("small", "resnet18", "resnet34")
AGGREGATIONS = ("mean_max", "concat")  # concat is the original's: so many cameras, in this order, for ever
NETWORKS = tuple(f"{encoder}-{aggregation}" for encoder in ENCODERS for aggregation in AGGREGATIONS)
