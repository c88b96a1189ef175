"""The tests. `cases` is the table, `naive` the loops, `checks` what holds one against the other."""
