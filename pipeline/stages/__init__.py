"""The verbs of the pipeline, one file each."""
