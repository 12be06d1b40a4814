"""
The rows of the table, by module: each has a sequence C{ROWS} of what L{bench.row.Row} describes.

Modules are found by being here; their names' digits give the order in the table.
"""
