"""From the bytes of an image file to pixels. Heavy imports happen in the modules: ask for `header` or `decode`."""
