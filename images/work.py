"""The kinds of operation of this app."""
