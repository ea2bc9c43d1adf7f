"""Authlib and PyJWT against a running Kerria. Exits with 0 if all went as it should."""

import os

import jwt
from authlib.integrations.requests_client import OAuth2Session

ORIGIN = os.environ["ORIGIN"]
AUDIENCE = os.environ["AUDIENCE"]
TOKEN, INTROSPECT, REVOKE = (f"{ORIGIN}/oauth2/{name}" for name in ("token", "introspect", "revoke"))
# Authlib refuses plain HTTP, which is all there is on this machine.
os.environ["AUTHLIB_INSECURE_TRANSPORT"] = "1"

keys = jwt.PyJWKClient(f"{ORIGIN}/.well-known/jwks.json")


def verify(token, audience):
    key = keys.get_signing_key_from_jwt(token).key
    return jwt.decode(token, key, algorithms=["EdDSA", "ES256"], audience=audience, issuer=ORIGIN)


own = OAuth2Session("kerria", token_endpoint_auth_method="none")
first = own.refresh_token(TOKEN, refresh_token=os.environ["REFRESH"])
second = own.refresh_token(TOKEN, refresh_token=first["refresh_token"])
assert first["refresh_token"] != second["refresh_token"]
assert verify(first["access_token"], ORIGIN)["sid"] == verify(second["access_token"], ORIGIN)["sid"]

shop = OAuth2Session("shop", os.environ["SECRET"], token_endpoint_auth_method="client_secret_basic")
token = shop.fetch_token(TOKEN, grant_type="client_credentials", scope="read")["access_token"]
assert verify(token, AUDIENCE)["scope"] == "read"
assert shop.introspect_token(INTROSPECT, token=token).json()["active"] is True
assert shop.revoke_token(REVOKE, token=token).status_code == 200
assert shop.introspect_token(INTROSPECT, token=token).json() == {"active": False}

for audience, expected in ((AUDIENCE, jwt.InvalidAudienceError), (ORIGIN, None)):
    try:
        verify(second["access_token"], audience)
        assert expected is None
    except jwt.InvalidAudienceError:
        assert expected is jwt.InvalidAudienceError
print("Authlib and PyJWT: all as it should be")
