-- Every module that was ever used, so that an unknown one is found to be unknown. Filled by triggers: an API of the
-- previous version adds documents, too.
create table modules (
    name       text collate "C" primary key,
    created_at timestamptz not null default now()
);
create function docservice_keep_modules() returns trigger language plpgsql as $body$
begin
    insert into modules (name)
        select distinct a.module from added a where not exists (select from modules m where m.name = a.module)
        on conflict do nothing;
    return null;
end
$body$;
create trigger documents_modules after insert on documents
    referencing new table as added for each statement execute function docservice_keep_modules();
create trigger document_type_columns_modules after insert on document_type_columns
    referencing new table as added for each statement execute function docservice_keep_modules();
insert into modules (name)
    select distinct module from documents union select distinct module from document_type_columns;

-- Attempts before the last retry: a claim is told from another by "attempts", which therefore only grows.
alter table documents add column earlier_attempts integer not null default 0;

-- Files of deleted documents, until they are removed from the store of blobs.
create table removed_blobs (
    blob_key   text collate "C" primary key,
    removed_at timestamptz not null default now()
);

-- Work on many documents, and what is left of it: a chunk is deleted in the transaction that does its work.
create table bulk_jobs (
    id           uuid primary key,
    number       bigint generated always as identity unique,
    module       text collate "C" not null,
    action       text not null check (action in ('delete', 'retry')),
    token_id     bigint not null,
    actor        text not null,
    request_id   text not null,
    remote_address text not null,
    state        text not null default 'running' check (state in ('running', 'done')),
    total        bigint not null default 0,
    done         bigint not null default 0,
    changed      bigint not null default 0,
    begun_at     timestamptz not null default now(),
    heartbeat_at timestamptz not null default now(),
    ended_at     timestamptz
);
create index bulk_jobs_module on bulk_jobs (module, number desc);
create table bulk_chunks (
    job_id uuid not null references bulk_jobs (id) on delete cascade,
    number bigint not null,
    ids    bigint[] not null,
    primary key (job_id, number)
);

-- The words of a text, folded as all searched texts are. A text with too many words for one value is read in part.
create function docservice_words(content text) returns tsvector language plpgsql immutable as $body$
declare
    part text := content;
begin
    loop
        begin
            return to_tsvector('pg_catalog.simple', docservice_fold(part));
        exception when program_limit_exceeded then
            part := left(part, length(part) / 2);
        end;
    end loop;
end
$body$;
alter table document_texts add column words tsvector;
create function docservice_set_words() returns trigger language plpgsql as $body$
begin
    new.words := docservice_words(new.content);
    return new;
end
$body$;
create trigger document_texts_words before insert or update of content on document_texts
    for each row execute function docservice_set_words();
