-- Search in the texts of a grid without regard to letter case.
--
-- Letters are folded one by one (with a final sigma as any other), so that a text that contains another also
-- contains it folded. The collation is the first of these that the server has: pg_c_utf8 (Postgres 17 and newer),
-- und-x-icu (built with ICU), the database's own.
do $body$
declare
    known constant text := (
        select collname from pg_collation
        where collname in ('pg_c_utf8', 'und-x-icu') order by collname limit 1);
    folded text := 'replace(lower((%s) collate ' || quote_ident(coalesce(known, 'default'))
        || '), ''ς'', ''σ'') collate "C"';
begin
    -- One expression each and nothing but what pg_catalog has: so they are inlined, and an index may use them.
    execute format(
        'create or replace function docservice_fold(value text) returns text language sql immutable parallel safe'
        ' as $sql$ select %s $sql$', format(folded, 'value'));
    -- All that is searched in a row, one value a line.
    execute format(
        'create or replace function docservice_search(id bigint, document_type text, mail_number text, title text,'
        ' sender text, file_name text, content_type text, size_bytes bigint, state text, failure text,'
        ' pages bigint, parent_id bigint) returns text language sql immutable parallel safe'
        ' as $sql$ select %s $sql$',
        format(folded,
            $x$ id::text || E'\n' || document_type || E'\n' || coalesce(mail_number, '') || E'\n' || title || E'\n'
             || coalesce(sender, '') || E'\n' || file_name || E'\n' || content_type || E'\n' || size_bytes::text
             || E'\n' || state || E'\n' || coalesce(failure, '') || E'\n' || coalesce(pages::text, '')
             || E'\n' || coalesce(parent_id::text, '') $x$));
end
$body$;

create index if not exists documents_search on documents using gin (
    docservice_search(id, document_type, mail_number, title, sender, file_name, content_type, size_bytes, state,
        failure, pages::bigint, parent_id) gin_trgm_ops);
