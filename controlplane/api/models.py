"""What the API remembers: the answers to requests that carried a key, so that none is done twice."""

from __future__ import annotations

from django.db import models
from django.utils import timezone

from controlplane.access.models import Token


class Answer(models.Model):
    """The answer to one request with an Idempotency-Key. Written in the transaction of the change it answers for."""

    token = models.ForeignKey(Token, on_delete=models.CASCADE, related_name="+")
    key = models.CharField(max_length=255)
    request_hash = models.CharField(max_length=64)  # SHA-256 of method, address and body
    status = models.PositiveSmallIntegerField()
    body = models.TextField()  # sealed: it may hold a secret that is shown once
    location = models.CharField(max_length=300, blank=True)
    created_at = models.DateTimeField(default=timezone.now, db_index=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["token", "key"], name="api_answer_once_a_key")]

    def __str__(self) -> str:
        return f"answer {self.pk}"
