create table tokens (
    id         bigint generated always as identity primary key,
    name       text collate "C" not null,
    sha256     bytea not null unique check (length(sha256) = 32),
    role       text collate "C" not null check (role in ('viewer', 'operator', 'system_admin')),
    modules    text[] collate "C",  -- null: all of them
    created_at timestamptz not null default now(),
    expires_at timestamptz,
    revoked_at timestamptz
);

create table document_type_columns (
    id            bigint generated always as identity primary key,
    module        text collate "C" not null check (module = lower(module)),
    document_type text collate "C" not null,
    column_name   text collate "C" not null,
    label         text not null,
    position      integer not null default 0,
    created_at    timestamptz not null default now(),
    unique (module, document_type, column_name)
);

-- Each attempt at the workers, refused ones too. Who is told by name and id; a token never stands here.
create table admin_audit (
    id               bigint generated always as identity primary key,
    at               timestamptz not null default now(),
    request_id       text not null,
    token_id         bigint,
    actor            text not null,
    remote_address   text not null,
    action           text not null,
    request          jsonb not null,
    size_before      jsonb,
    size_after       jsonb,
    outcome          text not null,
    status           integer not null,
    duration_seconds double precision not null
);

-- A drain outlives the request that began it; its heartbeat tells whether its process does.
create table drains (
    id           uuid primary key,
    workers      text[] not null,
    state        text not null check (state in ('running', 'done', 'failed')),
    report       jsonb not null,
    begun_at     timestamptz not null default now(),
    heartbeat_at timestamptz not null default now(),
    deadline_at  timestamptz not null,
    ended_at     timestamptz
);
create unique index drains_running on drains ((true)) where state = 'running';

-- The answer that a repeated command is given again.
create table idempotency_keys (
    token_id   bigint not null,
    key        text not null,
    request    text not null,
    status     integer,
    answer     jsonb,
    created_at timestamptz not null default now(),
    primary key (token_id, key)
);
