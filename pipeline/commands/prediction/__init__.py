"""What `predict` takes and leaves: images by any name, labels by any words, one page, one table, pictures."""
