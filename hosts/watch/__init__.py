"""Keeps the mirror of every host true: lists it, follows its events, and says when it can no longer be believed."""
