"""The device, its memory, and arrays on it."""
