"""A trained model as a service: an API, a page, a client. It imports no training code."""
