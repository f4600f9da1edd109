"""A column among many keys, in SQL."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.db.models import F
from django.db.models.lookups import Lookup


class Among(Lookup):
    """`field IN (keys)` with the keys written into the statement: a parameter each costs Django more time than the
    database takes to look hundreds of them up. `keys`: whole numbers, none other."""

    prepare_rhs = False

    def __init__(self, field: str, keys: Iterable[int]) -> None:
        super().__init__(F(field), tuple(sorted(map(int, keys))))

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, Any]:
        column, params = self.process_lhs(compiler, connection)
        return f"{column} IN ({', '.join(map(str, self.rhs))})", params
