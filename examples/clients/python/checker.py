"""A checker of Kerria's sessions in Python, after docs/checker-protocol.md, with nothing but the standard library.

    python3 checker.py checkers-token http://localhost:8080 ...

Reads session tokens from its standard input, one a line, and says of each whether it is good, and on what that rests. It shows
how the parts go together, for sessions in bearer tokens; one that is meant for use drops old entries and tells uses, too.
"""

import base64
import hashlib
import http.client
import json
import math
import sys
import threading
import time
import urllib.error
import urllib.request
import uuid


def clock():
    """Goes on while the machine is suspended, and never jumps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def unbase64(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def siphash(key, data):
    """SipHash-2-4, as 8 bytes in little-endian."""
    mask = (1 << 64) - 1
    k0, k1 = (int.from_bytes(key[at : at + 8], "little") for at in (0, 8))
    v = [k0 ^ 0x736F6D6570736575, k1 ^ 0x646F72616E646F6D, k0 ^ 0x6C7967656E657261, k1 ^ 0x7465646279746573]

    def turn(word, by):
        return (word << by | word >> (64 - by)) & mask

    def rounds(count):
        for _ in range(count):
            v[0], v[2] = (v[0] + v[1]) & mask, (v[2] + v[3]) & mask
            v[1], v[3] = turn(v[1], 13) ^ v[0], turn(v[3], 16) ^ v[2]
            v[0] = turn(v[0], 32)
            v[2], v[0] = (v[2] + v[1]) & mask, (v[0] + v[3]) & mask
            v[1], v[3] = turn(v[1], 17) ^ v[2], turn(v[3], 21) ^ v[0]
            v[2] = turn(v[2], 32)

    padded = data + bytes(-(len(data) + 1) % 8) + bytes([len(data) & 0xFF])
    for at in range(0, len(padded), 8):
        word = int.from_bytes(padded[at : at + 8], "little")
        v[3] ^= word
        rounds(2)
        v[0] ^= word
    v[2] ^= 0xFF
    rounds(4)
    return (v[0] ^ v[1] ^ v[2] ^ v[3]).to_bytes(8, "little")


class Unknown(Exception):
    """Nobody can tell: neither "good" nor "signed out"."""


class Node:
    """The nodes of an installation, of which the one is asked that answered last."""

    def __init__(self, token, origins):
        self.headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        self.origins, self.asked = list(origins), 0

    def ask(self, what, question=None, timeout=2):
        body = None if question is None else json.dumps(question).encode()
        last = None
        for _ in self.origins:
            # Threads may ask at once. Which node they ask is not worth a lock.
            asked = self.asked
            origin = self.origins[asked % len(self.origins)]
            request = urllib.request.Request(f"{origin}/api/v1/checker/{what}", body, self.headers)
            try:
                with urllib.request.urlopen(request, timeout=timeout) as answer:
                    return json.loads(answer.read() or b"null")
            except (OSError, ValueError, http.client.HTTPException) as error:
                last, self.asked = error, asked + 1
        raise Unknown(str(last))


class Checker:
    def __init__(self, node, name):
        self.node, self.name, self.id = node, name, str(uuid.uuid4())
        self.settings = node.ask("settings")
        self.key = unbase64(self.settings["token_key"])
        self.lease = self.settings["lease"] / 1000
        self.lock = threading.Lock()
        self.applied, self.lives = None, 0
        self.start_over(0)
        self.holds_lease = threading.Event()
        self.leaving = False
        self.renewing = threading.Thread(target=self.renew_always)
        self.renewing.start()

    # --- The lease ---

    def renew_always(self):
        wait = 0
        while not self.leaving:
            sent = clock()
            question = {"checker": self.id, "name": self.name, "applied": self.applied, "wait": wait}
            wait = 0
            try:
                answer = self.node.ask("renew", question, timeout=self.lease)
            except Unknown:
                time.sleep(self.lease / 10)
                continue
            with self.lock:
                if answer["answer"] == "registered":
                    if self.applied is None:
                        self.applied = self.floor = answer["head"]
                elif answer["answer"] == "start_over":
                    self.start_over(answer["head"])
                else:
                    for entry in answer["entries"]:
                        self.apply(entry)
                    if answer["complete"]:
                        self.until = max(self.until, sent + self.lease)
                        wait = int(self.lease * 1000 / 3)
            if wait:
                self.holds_lease.set()

    def leave(self):
        self.leaving = True
        self.renewing.join()
        with self.lock:
            self.until = 0
        self.node.ask("leave", {"checker": self.id})

    # --- The set ---

    def start_over(self, head):
        self.sessions, self.ended, self.changed, self.except_one = {}, {}, {}, {}
        self.floor, self.until = head, 0
        # What was asked for in another life counts no more.
        self.lives += 1
        if self.applied is not None:
            self.applied = head

    def apply(self, entry):
        number, selector = entry["number"], entry["selector"]
        kind = selector["kind"]
        if number <= self.applied:
            return
        if entry["event"]["event"] == "changed":
            self.changed[selector.get("session") or selector.get("user") or "everyone"] = number
        elif kind == "user_except":
            self.except_one.setdefault(selector["user"], {})[selector["except"]] = number
        elif kind in ("session", "user", "everyone"):
            self.ended[selector.get(kind, "everyone")] = number
        elif kind not in ("token", "client"):
            self.start_over(number)
        self.applied = number

    def verdict(self, found):
        """What became of a session since it was read."""
        as_of, about = found["as_of"], (found["session"], found["user"], "everyone")
        spared = self.except_one.get(found["user"], {})
        ended = any(self.ended.get(one, 0) > as_of for one in about)
        if ended or any(number > as_of for one, number in spared.items() if one != found["session"]):
            return "ended"
        if any(self.changed.get(one, 0) > as_of for one in about) or as_of < self.floor:
            return "changed"
        return "stands"

    # --- A check ---

    def check(self, text):
        token_hash = self.parse(text)
        if token_hash is None:
            return "refused: no token"
        with self.lock:
            found = self.sessions.get(token_hash)
            answer = found and self.judge(token_hash, found)
            # Looked at when the answer is ready.
            if answer and clock() < self.until:
                return f"{answer} (from memory)"
        for _ in range(8):
            life = self.lives
            found = self.node.ask("find", {"token": token_hash})["found"]
            if found is None:
                return "refused: no session (asked)"
            with self.lock:
                # An end may have overtaken it.
                answer = self.judge(token_hash, found, is_fresh=True) if life == self.lives else None
            if answer:
                return f"{answer} (asked)"
        raise Unknown("it changes all the time")

    def parse(self, text):
        try:
            content = unbase64(text.removeprefix("kst_"))
        except ValueError:
            return None
        random, tag = content[:32], content[32:]
        if not text.startswith("kst_") or len(text) != 58 or siphash(self.key, b"kst_" + random) != tag:
            return None
        return base64.urlsafe_b64encode(hashlib.sha256(b"kst_" + random).digest()).decode().rstrip("=")

    def judge(self, token_hash, found, is_fresh=False):
        """The answer; None if it has to be read again."""
        verdict = self.verdict(found)
        if verdict == "changed":
            return None
        if verdict == "ended":
            self.sessions.pop(token_hash, None)
            return "refused: ended"
        now = time.time() * 1000
        limits = self.settings["policy"]["remembered" if found["remembered"] else "ordinary"]
        # A session may have to be over sooner.
        own = found.get("expiry", {})
        end = min(found["opened_at"] + limits["absolute"], own.get("at", math.inf))
        idle = min(limits["idle"], own.get("idle", math.inf))
        if found["transport"] != "bearer":
            return "refused: another transport"
        if now >= end:
            return "refused: over"
        if now >= found["last_seen_at"] + idle:
            # It may be in use elsewhere.
            return "refused: idle" if is_fresh else None
        found["as_of"] = max(found["as_of"], self.applied)
        self.sessions[token_hash] = found
        return f"good: {found['user_name']}"


def main():
    with open(sys.argv[1], encoding="ascii") as file:
        token = file.read().strip()
    checker = Checker(Node(token, sys.argv[2:]), "checker.py")
    checker.holds_lease.wait()
    print("follows", flush=True)
    for line in sys.stdin:
        try:
            print(checker.check(line.strip()), flush=True)
        except Unknown as why:
            print(f"unknown: {why}", flush=True)
    checker.leave()


main()
