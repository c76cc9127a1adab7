"""A local page to look at what is in a work folder. It takes no lock and writes nothing."""
