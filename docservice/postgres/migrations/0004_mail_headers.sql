-- What a mail says of itself, beside its sender. sent_at is the moment of its own Date field, which may be
-- wrong or missing; received_at stays the time of the upload.
alter table documents
    add column sent_at      timestamptz,
    add column to_addresses text collate "C",
    add column cc_addresses text collate "C",
    add column message_id   text collate "C",
    -- Sentences on what could not be read as it stands, such as a damaged page.
    add column findings     text[] not null default '{}';
