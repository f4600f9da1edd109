"""The API's description, completed: what every operation may answer, and how one comes in."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from controlplane.api.problems import MEDIA_TYPE

ABOUT = """Hosts, containers, images, builds and operations of Gantry, and who may do what with them.

Send a token with each request: `Authorization: Bearer gantry_pat_…`. A cookie is no way in. Lists come in pages, whose
`next` is the address of the next one. What goes wrong comes as `application/problem+json` (RFC 9457). A change may
carry an `Idempotency-Key`: sent again within 24 hours it gets the same answer, and nothing is done twice."""

PROBLEM = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "instance"],
    "properties": {
        "type": {"type": "string", "description": "What a program tells it by."},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "instance": {"type": "string"},
        "hint": {"type": "string", "description": "What to do next."},
        "verb": {"type": "string", "description": "Of a 403: the right that is missing."},
        "received": {"type": "integer", "description": "Of a 409 to a piece of an upload: the bytes that are there."},
        "errors": {
            "type": "object",
            "description": "Of a 422: for each field what was expected.",
            "additionalProperties": {"type": "array", "items": {"type": "string"}},
        },
    },
}
REFUSALS = {
    400: "It cannot be read",
    401: "No token, or one that is not good here",
    403: "A right is missing",
    404: "Nothing there, or nothing you may see",
    405: "Not a method of this address",
    409: "Not in the present state; or a request with this key is under way",
    413: "Too large",
    415: "Not of the type that is taken here",
    422: "Something that was sent cannot be right",
    429: "Too often",
    500: "A fault of ours",
    502: "The host's engine answered something else",
    503: "A host or a service does not answer",
}
_KEY = {
    "in": "header",
    "name": "Idempotency-Key",
    "required": False,
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[\\x21-\\x7e]+$"},
    "description": "Yours to choose; the same request with the same key is done once.",
}


def complete(schema: dict[str, Any]) -> dict[str, Any]:
    """`schema` with problems, keys and the way in."""
    schema = json.loads(json.dumps(schema))
    schema["components"]["schemas"]["Problem"] = PROBLEM
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    for _, method, operation in each(schema):
        for status, description in REFUSALS.items():
            operation["responses"].setdefault(str(status), {"description": description, "content": content})
        if method != "get":
            operation.setdefault("parameters", []).append(_KEY)
    return schema


def each(schema: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(path, method, operation)."""
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def groups(schema: dict[str, Any]) -> list[dict[str, Any]]:
    """For the page: the operations by tag."""
    found: dict[str, list[dict[str, Any]]] = {}
    for path, method, operation in each(schema):
        found.setdefault(operation["tags"][0], []).append(_shown(schema, path, method, operation))
    return [{"name": name, "operations": operations} for name, operations in found.items()]


def _shown(schema: dict[str, Any], path: str, method: str, operation: dict[str, Any]) -> dict[str, Any]:
    bodies = operation.get("requestBody", {}).get("content", {})
    body = bodies.get("application/json", {})
    success = next(status for status in operation["responses"] if str(status).startswith("2"))
    return {
        "id": operation["operationId"],
        "method": method.upper(),
        "path": path,
        "about": operation.get("description", operation["summary"]),
        "parameters": [each for each in operation.get("parameters", []) if each["in"] == "query"],
        "fields": _fields(schema, body.get("schema", {})),
        "success": success,
        "curl": _curl(path, method, body.get("example"), "" if body else next(iter(bodies), "")),
    }


def _fields(schema: dict[str, Any], of: dict[str, Any]) -> list[dict[str, Any]]:
    """A body's fields: name, type in a word, whether it must be there, description."""
    resolved = schema["components"]["schemas"].get(of.get("$ref", "").rpartition("/")[2], of)
    required = resolved.get("required", [])
    return [
        {"name": name, "type": _word(said), "required": name in required, "about": said.get("description", "")}
        for name, said in resolved.get("properties", {}).items()
    ]


def _word(said: dict[str, Any]) -> str:
    if "enum" in said:
        return " | ".join(map(str, said["enum"]))
    if "anyOf" in said:
        return " | ".join(_word(each) for each in said["anyOf"])
    if said.get("type") == "array":
        return f"[{_word(said.get('items', {}))}]"
    return str(said.get("type", "object"))


def _curl(path: str, method: str, example: Any, file_type: str) -> str:
    parts = ["curl", "-H 'Authorization: Bearer gantry_pat_…'"]
    if method != "get":
        parts.append(f"-X {method.upper()}")
    if example is not None:
        parts += ["-H 'Content-Type: application/json'", f"-d '{json.dumps(example, ensure_ascii=False)}'"]
    if file_type:
        parts += [f"-H 'Content-Type: {file_type}'", "--data-binary @FILE"]
    return " ".join([*parts, f"https://gantry.example{path}"])
