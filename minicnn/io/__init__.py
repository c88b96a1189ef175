"""Files that are written whole or not at all, and text for every terminal."""
