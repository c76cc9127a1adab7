"""Stage graph, recipes, receipts, plan and the Dask engine. Knows nothing of images."""
