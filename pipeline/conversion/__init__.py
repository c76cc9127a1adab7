"""Features in other forms.

store         a folder of shards in another store, with receipts: the same features, up to date like the first
form          what every other form has: the files that it consists of, and how they are read
released      the per-image HDF5 files that the authors of BiAM shared
huggingface   Parquet that `datasets` opens with shapes and labels, a set of files for each split, and a card
webdataset    tar files for `webdataset`, a set for each split
fiftyone      labels, images and vectors as FiftyOne imports them, a folder for each split
"""
