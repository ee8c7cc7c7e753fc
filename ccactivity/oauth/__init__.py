"""Logging in with OAuth 2, and staying logged in; needs the extra `oauth`: `pip install 'ccactivity[oauth]'`.

async with OAuthTokens(OAuthClient(client_id), FileStore()) as tokens, ActivitySession(tokens) as session:
    ...
"""

from .client import OAuthClient
from .device import DeviceLogin
from .file_store import FileStore
from .forms import AuthorizationRequest
from .models import Account, StoredTokens
from .stores import MemoryStore, TokenStore
from .tokens import OAuthTokens

__all__ = [
    "Account",
    "AuthorizationRequest",
    "DeviceLogin",
    "FileStore",
    "MemoryStore",
    "OAuthClient",
    "OAuthTokens",
    "StoredTokens",
    "TokenStore",
]
