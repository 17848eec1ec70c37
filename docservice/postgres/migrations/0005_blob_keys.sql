-- Which document has a file: asked by retried uploads and by the removal of orphans.
create index documents_blob_key on documents (blob_key);
