"""What the service needs of its user in Postgres, table by table."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from docservice.postgres.database import Database

#: Of the user of API and workers; whoever migrates owns the tables.
NEEDED = {
    "admin_audit": ("select", "insert", "update"),
    "bulk_chunks": ("select", "insert", "update", "delete"),
    "bulk_jobs": ("select", "insert", "update"),
    "document_texts": ("select", "insert", "update"),
    "document_type_columns": ("select", "insert", "delete"),
    "documents": ("select", "insert", "update", "delete"),
    "drains": ("select", "insert", "update"),
    "file_store": ("select", "update"),
    "idempotency_keys": ("select", "insert", "update", "delete"),
    "modules": ("select", "insert"),
    "removed_blobs": ("select", "insert", "update", "delete"),
    "schema_migrations": ("select",),
    "tokens": ("select", "insert", "update"),
}
# Tables in a schema that the user may not use are unknown to it; so are those that are not made yet.
_REFUSED = """
select quote_ident(current_user) as name, what from (
    select 0 as place, 'usage on schema ' || quote_ident(n.nspname) as what
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where c.relname = 'document_type_columns' and to_regclass('document_type_columns') is null
      and not has_schema_privilege(n.oid, 'usage')
    union all
    select needed.place, needed.right_name || ' on ' || needed.table_name
    from unnest($1::text[], $2::text[]) with ordinality needed(table_name, right_name, place)
    where not has_table_privilege(to_regclass(needed.table_name), needed.right_name)
) refused
order by place
"""


async def refusal(database: Database) -> str | None:
    """Why the user of this database may not do what the service does, and what to grant; None when it may.

    Tables that are missing are none of its faults.

    Raises:
        StoreUnavailableError: when Postgres does not answer.
    """
    [row] = await database.fetch("select current_setting('transaction_read_only')::bool, pg_is_in_recovery()")
    if row[1]:
        return "the server is a standby; give the primary"
    if row[0]:
        return "transactions are read-only there; give a server, database and user that may write"
    pairs = [(table, right) for table, rights in NEEDED.items() for right in rights]
    refused = await database.fetch(_REFUSED, [table for table, _ in pairs], [right for _, right in pairs])
    if not refused:
        return None
    missing = ", ".join(one["what"] for one in refused)
    return f"the user {refused[0]['name']} lacks {missing}; as the owner of the tables, grant that"
