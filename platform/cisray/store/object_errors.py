"""What an object store says when it refuses, in words that a user can act on.

Knows the messages of obstore and the environment variables of stores; shows no secret: what a
store answers can repeat the request, of which a query may hold a signature.
"""

import os
import re

from cisray.errors import StorageError

_NO_BUCKET = ("NoSuchBucket", "ContainerNotFound", "bucket does not exist")
_SECRET_NAMES = re.compile(r"SECRET|KEY|TOKEN|SAS|PASSWORD|SERVICE_ACCOUNT|SIGNATURE")
_SHORTEST_SECRET = 4
_XML = re.compile(r"<Code>(.*?)</Code>(?:.*?<Message>(.*?)</Message>)?", re.DOTALL)
_FORBIDDEN = re.compile(r"non-2xx status code: 40[13]\b")
_STATUS = re.compile(r"non-2xx status code: (\d+ [A-Za-z ]+)")
_LONGEST = 300
VARIABLES = {
    "s3": "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_REGION, and of another store than "
    "Amazon's AWS_ENDPOINT_URL (with AWS_ALLOW_HTTP=true if it has no TLS)",
    "gs": "GOOGLE_SERVICE_ACCOUNT or GOOGLE_APPLICATION_CREDENTIALS",
    "az": "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
}


def is_no_bucket(error: Exception) -> bool:
    """Tell whether the bucket itself is missing, where an object was asked for."""
    return any(sign in str(error) for sign in _NO_BUCKET)


def _is_refused(error: Exception) -> bool:
    """Tell whether credentials are at fault, which not every request has a class of error for."""
    named = type(error).__name__ in ("PermissionDeniedError", "UnauthenticatedError")
    return named or _FORBIDDEN.search(str(error)) is not None


def explained(error: Exception, url: str) -> StorageError:
    """Phrase why a request below `url` failed, and the way out."""
    known = VARIABLES[url.partition("://")[0]]
    if is_no_bucket(error) or isinstance(error, FileNotFoundError):
        return StorageError(
            f"there is no bucket or container for {url} ({_short(error)}). Create it, or check its "
            f"name and where it is looked for: {known}."
        )
    if _is_refused(error):
        return StorageError(
            f"the store refuses {url} to these credentials ({_short(error)}). They must be allowed "
            f"to list, read, write and delete below it; they are taken from {known}."
        )
    return StorageError(
        f"{url} cannot be used: {_short(error)}. Check the network and {known}; then run the same "
        f"command again: it goes on where it stopped."
    )


def _short(error: Exception) -> str:
    text = str(error)
    xml, status = _XML.search(text), _STATUS.search(text)
    if xml is not None:
        said = f"{xml[1]}: {xml[2]}" if xml[2] else xml[1]
    elif status is not None:
        said = status[1].strip()
    else:
        said = text.partition("\n\nDebug source")[0]
    return redacted(" ".join(said.split()))[:_LONGEST].rstrip(". ")


def redacted(text: str) -> str:
    """Strike out queries of URLs, and what variables of secrets hold."""
    text = re.sub(r"\?[^\s),]+", "?...", text)
    for name, value in os.environ.items():
        if _SECRET_NAMES.search(name) and len(value) >= _SHORTEST_SECRET:
            text = text.replace(value, "...")
    return text
