-- Since when the store has refused a file of this document while it took others; null where it has not. Rows of
-- the previous version have null.
alter table documents add column refused_at timestamptz;
