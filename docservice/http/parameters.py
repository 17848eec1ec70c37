"""The query parameters that a route has: any other, and one given twice, is refused, not ignored.

Which there are is read from the OpenAPI document, so that what is legal is what is documented. The grid
routes read their parameters themselves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi.openapi.utils import get_openapi

from docservice.http.errors import ApiError

if TYPE_CHECKING:
    from fastapi import Request

_MAX_SHOWN = 80


class Parameters:
    """The parameters of each route, read with its first request that has one."""

    def __init__(self) -> None:
        # By route and method: each name, and whether it may be given more than once.
        self._known: dict[tuple[str, str], dict[str, bool]] = {}

    def check(self, request: Request) -> None:
        """Pass when the request has only parameters of its route.

        Raises:
            ApiError: 422, naming the parameter and what is legal.
        """
        given = [name for name, _ in request.query_params.multi_items()]
        if not given:
            return
        legal = self._legal(request.scope["route"], request.method)
        for name in given:
            if name not in legal:
                known = f"there are {', '.join(sorted(legal))}" if legal else "there is none here"
                raise ApiError(422, f"{name[:_MAX_SHOWN]}: no such parameter; {known}")
            if not legal[name] and given.count(name) > 1:
                raise ApiError(422, f"{name}: given more than once")

    def _legal(self, route: Any, method: str) -> dict[str, bool]:
        known = self._known.get((route.path, method))
        if known is None:
            document = get_openapi(title="", version="", routes=[route])
            [operations] = document["paths"].values() or [{}]
            known = _query_parameters(operations.get(method.lower(), {}))
            self._known[route.path, method] = known
        return known


def _query_parameters(operation: dict[str, Any]) -> dict[str, bool]:
    return {
        one["name"]: one["schema"].get("type") == "array"
        for one in operation.get("parameters", ())
        if one["in"] == "query"
    }
