"""A trained model as a service: an API, a page, a client. Needs no training code."""
