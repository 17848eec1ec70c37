"""From an upload to a processed document: blobs, queue, tasks, text extraction, sweeper."""
