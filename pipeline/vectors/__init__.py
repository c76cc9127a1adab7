"""Word vectors: where a file of them is had, how it is read, and which words stand for a label."""
