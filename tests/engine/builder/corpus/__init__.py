"""Dockerfiles that several builders build, to the same end or to another whose reason is told.

`row.py` says what a row is; `syntax`, `settings`, `copying`, `adding`, `running` and `stages` hold them;
`outcome.py` is what is compared; `opinions.py` asks a builder. The test is ../test_corpus.py.
"""
