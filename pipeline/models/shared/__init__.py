"""What several models are made of: losses, optimisers, normalisation, and sums over processes."""
