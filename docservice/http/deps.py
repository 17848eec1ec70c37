"""The dependencies of routes: the services, and the identity of the caller.

Every router but the one of health has one of the ``require_…`` functions as its own dependency, so that no
route can be left open by mistake, and none ignores a query parameter.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from fastapi import Depends, Header, Path, Request, Security
from fastapi.security import HTTPBearer

from docservice.domain.documents import MODULE_PATTERN, module_name
from docservice.domain.identity import Identity, Role
from docservice.http.auth import bearer, require_module, require_role
from docservice.http.errors import unknown_module
from docservice.http.services import Services

# Only for OpenAPI: it is `bearer` that reads the header.
_scheme = HTTPBearer(auto_error=False, description="The token that `docservice token create` printed.")


def services(request: Request) -> Services:
    """The services of the application."""
    found: Services = request.app.state.services
    return found


Serving = Annotated[Services, Depends(services)]


def audited(action: str) -> Callable[[Request], None]:
    """A dependency that names the action of a route that changes something, for the record of refusals."""

    def name_action(request: Request) -> None:
        request.state.audit_action = action

    return name_action


def _bearer(request: Request) -> bytes:
    return bearer(dict(reversed(request.headers.raw)).get(b"authorization"))


async def require_viewer(
    request: Request, serving: Serving, _: Annotated[object, Security(_scheme)]
) -> Identity:
    """The identity of the caller, who may at least read."""
    identity = await serving.auth.identify(_bearer(request))
    request.state.identity = identity
    request.app.state.parameters.check(request)
    return identity


Viewer = Annotated[Identity, Depends(require_viewer)]


async def require_operator(identity: Viewer) -> Identity:
    """The identity of the caller, who may upload and change."""
    require_role(identity, Role.OPERATOR)
    return identity


Operator = Annotated[Identity, Depends(require_operator)]


async def require_system_admin(
    request: Request, serving: Serving, _: Annotated[object, Security(_scheme)]
) -> Identity:
    """The identity of the caller, with the role read from Postgres now."""
    identity = await serving.auth.identify_live(_bearer(request))
    request.state.identity = identity
    require_role(identity, Role.SYSTEM_ADMIN)
    request.app.state.parameters.check(request)
    return identity


SystemAdmin = Annotated[Identity, Depends(require_system_admin)]


# The pattern is for the OpenAPI document: it is `module_name` that refuses, and says what is legal.
_MODULE_PATH = Path(
    description="In any letter case.", examples=["mail"], json_schema_extra={"pattern": MODULE_PATTERN}
)


def seen_module(module: Annotated[str, _MODULE_PATH], identity: Viewer) -> str:
    """The module in its normal form, when the caller may see it."""
    name = module_name(module)
    require_module(identity, name)
    return name


Module = Annotated[str, Depends(seen_module)]


async def require_existing(serving: Services, identity: Identity, module: str) -> None:
    """Pass when the module was ever used, or the token names it.

    Raises:
        ApiError: 404 for who may see all modules, and so mistyped this one.
    """
    if identity.modules is None and not await serving.modules.exists(module):
        raise unknown_module(module)


async def existing_module(module: Module, identity: Viewer, serving: Serving) -> str:
    """As :func:`seen_module`; an unknown one is 404."""
    await require_existing(serving, identity, module)
    return module


ExistingModule = Annotated[str, Depends(existing_module)]
Key = Annotated[str | None, Header(alias="Idempotency-Key", min_length=1, max_length=200)]
