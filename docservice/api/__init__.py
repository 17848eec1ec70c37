"""The routes, all of them in one envelope: what is asked is checked here, what is done is done below."""
