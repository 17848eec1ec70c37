-- concurrently: statement by statement, each on its own, so that nobody who reads or writes waits for it.

do $body$
declare
    last bigint := 0;
    upto bigint;
begin
    loop
        select max(document_id) into upto from (
            select document_id from document_texts where document_id > last order by document_id limit 500) part;
        exit when upto is null;
        update document_texts set words = docservice_words(content)
            where document_id > last and document_id <= upto and words is null;
        commit;
        last := upto;
    end loop;
end
$body$;

create index concurrently if not exists document_texts_words on document_texts using gin (words);

create index concurrently if not exists document_texts_parts
    on document_texts using gin (docservice_fold(content) gin_trgm_ops);
