-- The trace in which a document was uploaded, as the W3C writes a parent: the worker's span belongs to it, however
-- often its message is sent. Null without traces, and in rows of the previous version.
alter table documents add column traceparent text collate "C";
