"""The Dask cluster that tasks run on: an embedded one that is closed to all others, or a user's, which is probed."""
