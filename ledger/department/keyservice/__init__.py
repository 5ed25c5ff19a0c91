"""The key service: who shows an access token of the identity provider is given her stream keys (docs/key-service.md).

settings    [keyservice] of department.toml
provider    the provider's keys: discovery, JWKS, their cache
tokens      a token's signature and claims, checked
person      claims → whose keys these are, and who asks for her
limits      how often
releasing   the release put in the outbox, then the keys
app         GET /v1/stream-keys
problems    what it answers when it gives none
server      start and stop
"""
