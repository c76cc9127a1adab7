"""Features in other forms.

store         a folder of shards in another store, with receipts: the same features, up to date like the first
released      the per-image HDF5 files that the authors of BiAM shared
huggingface   Parquet that `datasets` opens with shapes
"""
