-- The identity of this database's store of files, one row. It is written into the store, so that a volume that is
-- not mounted, or another database's store, is not taken for an empty one. marked_at is null until that is done.
create table file_store (
    id boolean primary key default true check (id),
    identity uuid not null default gen_random_uuid(),
    marked_at timestamptz
);

insert into file_store default values;
