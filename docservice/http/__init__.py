"""The HTTP service: application, authentication, errors, envelope and routes."""
