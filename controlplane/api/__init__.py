"""The API under /api/v1: the pages' own actions and decisions, for scripts. Nothing is decided here."""
