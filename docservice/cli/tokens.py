"""``docservice token``: create, list and revoke API tokens."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import click

from autoscaler.api import OneLineGroup
from docservice.cli.running import fail, read, run, with_schema
from docservice.domain.documents import ModuleNameError, module_name
from docservice.domain.identity import Role, new_token, token_hash
from docservice.metrics import Metrics
from docservice.page_cache import IDENTITIES, Cache
from docservice.postgres.modules import unused_modules
from docservice.postgres.tokens import TokenRow, Tokens

if TYPE_CHECKING:
    from docservice.postgres.database import Database

_ROLES = [role.value for role in Role]


@click.group("token", cls=OneLineGroup)
def token() -> None:
    """Create, list and revoke API tokens."""


@token.command("create")
@click.option("--name", required=True, help="Who uses it; shown in the audit.")
@click.option("--role", type=click.Choice(_ROLES), default=Role.VIEWER.value, show_default=True)
@click.option(
    "--module", "modules", multiple=True, help="A module that it may see; repeatable. Without: all."
)
@click.option(
    "--expires-in-days",
    type=click.FloatRange(min=0, min_open=True, max=3650),
    help="Without: never.",
)
def token_create(name: str, role: str, modules: tuple[str, ...], expires_in_days: float | None) -> None:
    """Create a token and print it. It is shown only once."""
    if not name.strip() or len(name) > 100 or not name.isprintable():  # noqa: PLR2004 - the message says it
        fail("--name must have 1 to 100 printable characters", 2)
    try:
        seen = sorted({module_name(module) for module in modules}) or None
    except ModuleNameError as fault:
        fail(f"--module: {fault}", 2)
    text = new_token()
    sha256 = token_hash(text)
    if sha256 is None:
        raise RuntimeError("a new token has the form of tokens")
    expires_at = None if expires_in_days is None else datetime.now(UTC) + timedelta(days=expires_in_days)

    async def add(database: Database) -> tuple[int, list[str]]:
        token_id = await Tokens(database).add(
            name=name.strip(), sha256=sha256, role=Role(role), modules=seen, expires_at=expires_at
        )
        return token_id, await unused_modules(database, seen or ())

    token_id, notes = run(with_schema(read(), add))
    click.echo("".join(f"docservice: {note}\n" for note in notes), nl=False, err=True)
    click.echo(f"token {token_id} for {name.strip()}, {role}; it is not shown again:", err=True)
    click.echo(text)


@token.command("list")
def token_list() -> None:
    """List all tokens, without their secrets."""
    for row in run(with_schema(read(), lambda database: Tokens(database).all())):
        click.echo("\t".join(_cells(row)))


def _cells(row: TokenRow) -> list[str]:
    state = "active"
    if row.revoked_at is not None:
        state = f"revoked {row.revoked_at:%Y-%m-%d %H:%M}"
    elif row.expires_at is not None:
        word = "expired" if row.expires_at <= datetime.now(UTC) else "until"
        state = f"{word} {row.expires_at:%Y-%m-%d %H:%M}"
    modules = "all modules" if row.modules is None else ",".join(row.modules)
    return [str(row.id), row.name, row.role.value, modules, state]


@token.command("revoke")
@click.argument("token_id", type=click.IntRange(1, 2**63 - 1))
def token_revoke(token_id: int) -> None:
    """Revoke a token by its id: from the next request on, or later where this command cannot reach Redis."""
    settings = read()

    async def revoke(database: Database) -> tuple[bool, bool]:
        revoked = await Tokens(database).revoke(token_id)
        # Also where it was revoked before: that command may not have reached Redis.
        cache = Cache(settings.redis, settings.redis_tuning, Metrics())
        try:
            return revoked, await cache.try_raise_version(IDENTITIES)
        finally:
            await cache.close()

    revoked, reached = run(with_schema(settings, revoke))
    if not revoked:
        fail(f"there is no active token {token_id}; see docservice token list", 1)
    within = (
        ""
        if reached
        else f"; Redis does not answer here, so an API that reaches it may accept the token for"
        f" {settings.identity_seconds} s"
    )
    click.echo(f"token {token_id} is revoked{within}")
