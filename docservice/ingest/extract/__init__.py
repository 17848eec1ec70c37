"""The contents of an uploaded file: bytes in, an :class:`~docservice.domain.extraction.Extraction` out.

Pure: no file, network, clock or environment. Whatever the bytes are, the result is an ``Extraction`` or a
:class:`~docservice.ingest.extract.limits.ProcessingError`. ``process`` is the entry point and ``sniff``
detects the type; ``mail`` reads MIME messages (``mime``, ``mail_headers``, ``charset``, ``html_text``,
``uuencode``, ``cms``, ``tnef``), ``pdf`` reads PDFs (``pdf_repair``), and ``limits``
holds every bound.
"""
