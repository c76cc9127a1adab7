"""Models of open_clip: an image tower and a text tower whose vectors lie in one space. Backbones and label vectors."""
