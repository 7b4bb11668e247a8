"""Whether the Hugging Face hub can be reached."""

from functools import lru_cache


@lru_cache(maxsize=8)
def is_unreachable(name: str) -> bool:
    """Whether a model of this name can only be in the cache, as the hub does not answer.

    The loaders of transformers would ask for each of several files six times, for over a minute,
    before they say so.
    """
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import HfHubHTTPError

    try:
        HfApi().model_info(name, timeout=constants.HF_HUB_ETAG_TIMEOUT)
    except HfHubHTTPError:  # it answers, for example that there is no such model
        return False
    except Exception:  # of the HTTP library, which differs between versions of huggingface_hub
        return True
    return False
