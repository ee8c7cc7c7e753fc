"""Logging in with OAuth 2, and staying logged in; needs the extra `oauth`: `pip install 'ccactivity[oauth]'`.

async with OAuthTokens(OAuthClient(client_id), FileStore()) as tokens, ActivitySession(tokens) as session:
    ...
"""

from .client import OAuthClient
from .device import DeviceLogin
from .files import FileStore
from .grammar import AuthorizationRequest
from .records import Account, StoredTokens
from .source import OAuthTokens
from .stores import MemoryStore, TokenStore

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
