"""Files for builds: a tar sent in pieces, each where the one before it ended."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from django.http import HttpRequest
from ninja import Query, Router, Schema
from pydantic import ConfigDict, Field

from controlplane.access.decide import require
from controlplane.api.common import Body, caller, example
from controlplane.api.door import BYTES, repeatable, takes_bytes
from controlplane.api.problems import problem
from images.builds import uploading
from images.builds.models import Upload

router = Router(tags=["builds"])

PIECE = {"requestBody": {"required": True, "content": {BYTES: {"schema": {"type": "string", "format": "binary"}}}}}


class UploadOut(Schema):
    """Files of one's own for a build. `received`: bytes there are. Whole, it says how many files they are and which of
    them look like Dockerfiles; it is dropped a week after its last use."""

    id: str
    name: str
    received: int
    is_whole: bool
    files: int
    dockerfiles: list[str]
    finished_at: datetime | None


class UploadBody(Body):
    name: Annotated[str, Field(max_length=200)] = "files"


class PieceQuery(Schema):
    model_config = ConfigDict(extra="forbid")

    offset: Annotated[int, Field(ge=0, le=2**63 - 1, description="How many bytes stand before this piece.")]


class FinishBody(Body):
    size: Annotated[int, Field(ge=0, le=2**63 - 1, description="Bytes of the whole.")]


def _get(request: HttpRequest, ident: str) -> Upload:
    require(request.user, "image.build")
    return uploading.find(caller(request), ident)


def _shown(upload: Upload) -> Upload:
    """With how many bytes of it there are: the file knows."""
    upload.received = uploading.received(upload)  # type: ignore[attr-defined]
    return upload


@router.post("", response={201: UploadOut}, operation_id="begin_upload", openapi_extra=example({"name": "shop"}))
def begin(request: HttpRequest, body: UploadBody) -> Any:
    """Keep a place for files. Of too many that were begun and not finished, the oldest goes."""
    require(request.user, "image.build")
    return _shown(uploading.begin(caller(request), body.name))


@router.get("/{slug:ident}", response=UploadOut, operation_id="get_upload")
def get_one(request: HttpRequest, ident: str) -> Any:
    """How far it is: what comes next begins at `received`."""
    return _shown(_get(request, ident))


@router.put("/{slug:ident}", response=UploadOut, operation_id="send_piece", openapi_extra=PIECE)
@takes_bytes(uploading.LARGEST_PIECE)
@repeatable
def send(request: HttpRequest, ident: str, query: Query[PieceQuery]) -> Any:
    """Send the next piece of the tar, at most 8 MiB. One that is there already is left alone; for one that is not the
    next there is a 409, whose `received` says where to go on."""
    found = _get(request, ident)
    piece: bytes = request.piece  # type: ignore[attr-defined]
    received = uploading.append(found, query.offset, piece)
    if received != query.offset + len(piece):
        said = f"Expected the piece that begins at {received}, found one that begins at {query.offset}."
        return problem(request, 409, said, kind="not-the-next-piece", received=received)
    return _shown(found)


@router.post(
    "/{slug:ident}/finish", response=UploadOut, operation_id="finish_upload", openapi_extra=example({"size": 10240})
)
@repeatable
def finish(request: HttpRequest, ident: str, body: FinishBody) -> Any:
    """Say that it is whole. It is looked at: a tar, plain or compressed with gzip, bzip2 or xz."""
    return _shown(uploading.finish(_get(request, ident), body.size))


@router.delete("/{slug:ident}", response={204: None}, operation_id="drop_upload")
def drop(request: HttpRequest, ident: str) -> Any:
    """Forget one that is not finished. One that is goes by itself, a week after its last use."""
    uploading.drop(_get(request, ident))
