"""Grids as values: columns, the query, and the two forms in which a query arrives."""
