"""Classifiers of images: trained from a folder, measured, explained, and put into one file."""
