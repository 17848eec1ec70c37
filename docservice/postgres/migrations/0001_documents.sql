-- Collation "C" compares the bytes of UTF-8: the order of code points, on every machine. So prefixes are
-- ranges that an ordinary index answers, and a cursor made by one server is understood by another.
create extension if not exists pg_trgm;

create table documents (
    id            bigint generated always as identity primary key,
    module        text collate "C" not null check (module = lower(module)),
    document_type text collate "C" not null,
    mail_number   text collate "C",
    title         text collate "C" not null,
    sender        text collate "C",
    file_name     text collate "C" not null,
    content_type  text collate "C" not null,
    size_bytes    bigint not null check (size_bytes >= 0),
    state         text collate "C" not null default 'received'
                  check (state in ('received', 'processing', 'processed', 'failed')),
    failure       text collate "C",
    pages         integer,
    parent_id     bigint references documents (id) on delete cascade,
    part          integer,
    depth         smallint not null default 0,
    received_at   timestamptz not null default now(),
    processed_at  timestamptz,
    sha256        text collate "C" not null,
    blob_key      text collate "C" not null,
    attempts      integer not null default 0,
    claimed_at    timestamptz,
    enqueued_at   timestamptz,
    unique (parent_id, part)
);

-- A grid as it opens: the latest of a module.
create index documents_latest on documents (module, received_at desc, id desc);
-- Exact and prefix. It holds all that the default order needs, so the matches are counted without the table.
create index documents_mail_number on documents (module, mail_number, received_at desc, id desc);
-- Contains.
create index documents_mail_number_parts on documents using gin (mail_number gin_trgm_ops);
-- The sweeper's: the few that nobody has finished.
create index documents_unfinished on documents (state, enqueued_at)
    where state in ('received', 'processing');

-- Apart from the documents, so that a grid never reads past long texts.
create table document_texts (
    document_id bigint primary key references documents (id) on delete cascade,
    content     text not null
);
