"""Addresses to bytes, over http: images and official files. Knows no image format."""
