"""A trained model applied: its file, scores of whole selections, response maps, images that no stage has seen."""
