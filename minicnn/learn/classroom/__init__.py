"""For teachers: a class set, and the marks of many submissions."""
