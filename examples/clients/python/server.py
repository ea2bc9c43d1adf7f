"""A resource server that checks Kerria's access tokens with PyJWT, and refuses those that were ended.

    python3 server.py PORT CHECKERS_TOKEN_FILE AUDIENCE NODE...
"""

import http.server
import json
import signal
import sys
import threading

import jwt
from feed import Feed

if len(sys.argv) < 5:
    sys.exit("usage: python3 server.py PORT CHECKERS_TOKEN_FILE AUDIENCE NODE...")
PORT, TOKEN_FILE, AUDIENCE, *NODES = sys.argv[1:]

with open(TOKEN_FILE, encoding="ascii") as file:
    feed = Feed(NODES, file.read().strip(), "python")
issuer = feed.settings["issuer"]
keys = jwt.PyJWKClient(f"{issuer}/.well-known/jwks.json", lifespan=300)


class Unknown(Exception):
    """Neither "good" nor "signed out": the client keeps its token and comes again."""


class Refused(Exception):
    pass


def verify(token):
    try:
        decoded = jwt.decode_complete(
            token,
            keys.get_signing_key_from_jwt(token),
            algorithms=["EdDSA", "ES256"],
            audience=AUDIENCE,
            issuer=issuer,
            options={"require": ["exp", "iss", "aud", "jti", "sub", "client_id", "as_of"]},
        )
    except (jwt.PyJWKClientConnectionError, jwt.PyJWKSetError) as error:
        # That the keys could not be fetched says nothing about the token.
        raise Unknown from error
    except jwt.PyJWTError as error:
        raise Refused from error
    if decoded["header"].get("typ") != "at+jwt":
        raise Refused
    return decoded["payload"]


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        scheme, _, token = self.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            return self.answer(401, {"error": None}, {"WWW-Authenticate": "Bearer"})
        try:
            claims = verify(token)
            body = {"user": claims["sub"], "session": claims.get("sid"), "scope": claims.get("scope")}
            # Last, and nothing takes time after it.
            verdict = feed.verdict(claims)
            if verdict == "unknown":
                raise Unknown
            if verdict == "ended":
                raise Refused
        except Unknown:
            return self.answer(503, {"error": "temporarily_unavailable"}, {"Retry-After": "1"})
        except Refused:
            return self.answer(401, {"error": "invalid_token"}, {"WWW-Authenticate": 'Bearer error="invalid_token"'})
        return self.answer(200, body)

    def answer(self, status, body, headers=()):
        content = json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Cache-Control": "no-store", **dict(headers)}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", int(PORT)), Handler)
# `shutdown` waits for the loop that this thread is in.
signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
print(f"listening on http://127.0.0.1:{server.server_port}", file=sys.stderr, flush=True)
server.serve_forever()
feed.leave()
