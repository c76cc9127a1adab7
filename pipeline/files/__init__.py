"""Files of a work folder: how bytes become durable, and the one checked way to read what an earlier stage left."""
