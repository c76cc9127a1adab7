"""Pieces of the report page: what the stages left, figures, tables, charts, pictures, and the template around them."""
