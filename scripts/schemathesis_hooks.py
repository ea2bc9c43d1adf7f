"""Gives the fuzzer its credentials, and new ones when it has used them up.

A user can sign out, end all sessions, change the password and delete the account. Then a new user signs up and goes on.
"""

import base64
import itertools
import os
import uuid

import requests
import schemathesis

URL = os.environ["FUZZ_URL"]
PERSON = os.environ["FUZZ_PERSON"]
OPERATOR_TOKEN = os.environ["KERRIA_OPERATOR_TOKEN"]
CHECKERS_TOKEN = os.environ["KERRIA_CHECKERS_TOKEN"]
PASSWORD = "correct horse battery staple"

# After these the token of the request is over.
ENDS = {("POST", "/api/v1/logout"), ("POST", "/api/v1/session/step-up"), ("PUT", "/api/v1/password")}

numbers = itertools.count()
user = None


def new_user():
    """The name and the token of somebody who has just signed up."""
    name = f"{PERSON}-{next(numbers)}"
    account = {"name": name, "password": PASSWORD, "transport": "bearer"}
    answer = requests.post(f"{URL}/api/v1/users", json=account, timeout=10)
    answer.raise_for_status()
    return name, answer.json()["token"]


def handle_of_another_session():
    """The handle of one more session: of the user, or of somebody for the operator."""
    name = (user or new_user())[0]
    account = {"login": name, "password": PASSWORD, "transport": "bearer"}
    answer = requests.post(f"{URL}/api/v1/login", json=account, timeout=10)
    return answer.json()["session"]["handle"] if answer.ok else None


def new_client():
    """The identifier and the secret of a client that was just registered, and may use every grant."""
    client = {
        "id": f"{PERSON}-client-{next(numbers)}",
        "authentication": "client_secret",
        "grants": ["refresh_token", "client_credentials", "urn:ietf:params:oauth:grant-type:token-exchange"],
        "scope": "introspect",
        "audiences": ["https://shop.example.com"],
    }
    headers = {"Authorization": f"Bearer {OPERATOR_TOKEN}"}
    answer = requests.post(f"{URL}/api/v1/operator/clients", json=client, headers=headers, timeout=10)
    answer.raise_for_status()
    return client["id"], answer.json()["secret"]


def is_uuid(text):
    try:
        return str(uuid.UUID(text)) == text
    except (AttributeError, TypeError, ValueError):
        return False


class Bearer:
    """A bearer token for every request; the secret of a client where a client is asked for."""

    client = None

    def set(self, case, data, ctx):
        if not case.path.startswith("/oauth2/"):
            case.headers["Authorization"] = f"Bearer {data}"
            return
        Bearer.client = Bearer.client or new_client()
        credential = base64.b64encode(":".join(Bearer.client).encode()).decode()
        case.headers["Authorization"] = f"Basic {credential}"


if PERSON == "user":

    @schemathesis.auth(refresh_interval=None)
    class User(Bearer):
        def get(self, case, ctx):
            global user
            user = user or new_user()
            return user[1]

    @schemathesis.hook
    def after_call(ctx, case, response):
        global user
        ends = case.method == "DELETE" or (case.method, case.path) in ENDS
        if ends and response.status_code < 300:
            user = None


if PERSON == "operator":

    @schemathesis.auth(refresh_interval=None)
    class Operator(Bearer):
        def get(self, case, ctx):
            return OPERATOR_TOKEN


if PERSON == "checker":

    @schemathesis.auth(refresh_interval=None)
    class Checker(Bearer):
        def get(self, case, ctx):
            return CHECKERS_TOKEN


@schemathesis.hook
def map_body(ctx, body):
    """Right passwords and possible names, or few requests would get beyond them. What is neither stays so."""
    if isinstance(body, dict):
        name = body.get("name")
        if isinstance(name, str) and 1 <= len(name) <= 64:
            body["name"] = "".join(filter(str.isalnum, name)) or "x"
        for member in ("password", "current_password", "new_password"):
            value = body.get(member)
            if isinstance(value, str) and 8 <= len(value) <= 4096:
                body[member] = PASSWORD
    return body


@schemathesis.hook
def map_path_parameters(ctx, path_parameters):
    """Sessions and clients that exist, where somebody may end or change them."""
    if PERSON == "operator" and path_parameters and path_parameters.get("client", "").isalnum():
        path_parameters["client"] = new_client()[0]
    if PERSON != "nobody" and path_parameters and is_uuid(path_parameters.get("handle")):
        path_parameters["handle"] = handle_of_another_session() or path_parameters["handle"]
    return path_parameters
