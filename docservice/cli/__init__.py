"""The commands of the document service, one module for each kind; the only composer."""
