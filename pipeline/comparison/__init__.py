"""Models beside each other: the ready tables, what was published, and what runs came to as one table in several forms.

`tables` and `published` hold what the papers have; `table` makes one document of the cells that were run, which
`text`, `markup` and `page` show. Needs no torch.
"""
