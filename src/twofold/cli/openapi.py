"""`twofold openapi`."""


def openapi() -> None:
    """Print the schema of the API that `serve` offers; needs no model."""
    import json

    from twofold.serving.app import create_app

    print(json.dumps(create_app({}).openapi(), indent=2))
