"""Stage graph, plan, receipts, fingerprints, Dask. Knows nothing of images."""
