"""One of each that biam-pipe takes: a data set, a backbone, a store, a model and a protocol."""
