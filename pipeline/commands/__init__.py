"""What one does with a work folder beside running its stages: look, check, convert, predict; and what a run came to."""
