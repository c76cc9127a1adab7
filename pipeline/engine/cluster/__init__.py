"""The Dask cluster that tasks run on: an embedded one, closed to everybody else, or a user's, whose workers are probed."""
