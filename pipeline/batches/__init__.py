"""Features, annotations, splits and label roles, joined into batches for training and evaluation.

    label_space   which labels there are, seen before unseen, and their vectors
    ragged        rows of different lengths in two flat arrays
    annotations   what is known of each image, as codes +1, 0, -1 on demand
    shards        feature shards: checked against their receipts, read by row group
    selection     which images of a split can be used, and why the others cannot
    order         in which order an epoch visits them
    feature_cache maps kept in the device's memory or the host's where it holds them
    stream        the batches themselves

Numpy in, numpy out, but for maps that are cached: those are torch's, which is imported for them alone.
"""
