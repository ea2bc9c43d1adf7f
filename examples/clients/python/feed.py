"""Follows the ends of sessions and tokens at a Kerria server, after docs/checker-protocol.md, and says of access tokens
whether they were ended. Nothing but the standard library."""

import collections
import http.client
import json
import threading
import time
import urllib.request
import uuid

HOUR = 3_600_000
KINDS = ("session", "user", "user_except", "token", "client", "everyone")


def clock():
    """Seconds on a clock that goes on while the machine is suspended, and never jumps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Feed:
    def __init__(self, nodes, token, name):
        self.nodes, self.token, self.name = nodes, token, name
        # A new process is a new checker: a server that forks makes this after the fork.
        self.id = str(uuid.uuid4())
        self.asked, self.leaving = 0, False
        self.lock = threading.Lock()
        self.forget_all(None)
        self.settings = self.ask("settings", None, 2)
        self.lease = self.settings["lease"] / 1000
        self.renewing = threading.Thread(target=self.renew_always, daemon=True)
        self.renewing.start()

    def verdict(self, claims):
        """Of a token whose signature and claims are right: "good", "ended", or "unknown". To be asked when the answer is
        ready."""
        as_of, session = claims["as_of"], claims.get("sid")
        selectors = [("token", claims.get("jti")), ("session", session), ("user", claims["sub"])]
        selectors += [("client", claims.get("client_id")), ("everyone", None)]
        with self.lock:
            for selector in selectors:
                for number, spared in self.ends.get(selector, ()):
                    if number > as_of and (spared is None or spared != session):
                        return "ended"
            if clock() >= self.until:
                return "unknown"
            # What was ended before the floor is not known here. Its client refreshes, and gets a younger one.
            return "good" if as_of >= self.floor else "ended"

    def leave(self):
        """Nobody has to wait for this process any more."""
        self.leaving = True
        self.renewing.join()
        with self.lock:
            self.until = 0
        self.ask("leave", {"checker": self.id}, 2)

    def renew_always(self):
        wait = 0
        while not self.leaving:
            # The lease counts from before the request is sent.
            sent = clock()
            renewal = {"checker": self.id, "name": self.name, "applied": self.applied, "wait": wait}
            wait = 0
            try:
                # With a node that keeps silent, there is time for the next one within the lease.
                answer = self.ask("renew", renewal, self.lease / 2, tries=1)
                kind = answer["answer"]
                if kind == "start_over" or kind == "registered" and self.applied is None:
                    self.begin(answer["head"])
                elif kind == "entries":
                    self.take(answer, sent)
                    # Whoever waits for us to say what we have applied does not wait any longer than it takes to ask again.
                    if answer["complete"] and not answer["entries"]:
                        wait = int(self.lease * 1000 / 4)
            except (OSError, ValueError, http.client.HTTPException):
                time.sleep(self.lease / 20)

    def begin(self, head):
        with self.lock:
            self.forget_all(head)
        # Tokens from before are good, too, if it can be known what was ended since. Without that, they are refused.
        limit = min(head, 10_000)
        while limit > 0:
            after = head - limit
            entries = self.ask("log", {"after": after, "limit": limit}, 2).get("entries")
            if entries and entries[-1]["number"] == head:
                with self.lock:
                    self.floor = after
                    for entry in entries:
                        self.apply(entry)
                return
            limit //= 4

    def take(self, answer, sent):
        with self.lock:
            for entry in answer["entries"]:
                if entry["number"] > self.applied:
                    self.apply(entry)
            if answer["complete"]:
                self.until = max(self.until, sent + self.lease)
            # After an hour, no access token is left that an end could be about.
            while self.order and self.order[0][1] < time.time() * 1000 - HOUR:
                number, _, about = self.order.popleft()
                self.ends[about].popleft()
                if not self.ends[about]:
                    del self.ends[about]
                self.floor = max(self.floor, number)

    def apply(self, entry):
        self.applied = entry["number"]
        selector, event = entry["selector"], entry["event"]["event"]
        kind = selector["kind"]
        if kind not in KINDS or event not in ("ended", "changed"):
            self.forget_all(self.applied)
        # What has changed of a session is not in its access tokens.
        elif event == "ended":
            about = ("user", selector["user"]) if kind == "user_except" else (kind, selector.get(kind))
            self.ends.setdefault(about, collections.deque()).append((self.applied, selector.get("except")))
            self.order.append((self.applied, entry["at"], about))

    def forget_all(self, head):
        self.until, self.applied, self.floor = 0, head, head
        # What an end is about -> the ends, in order.
        self.ends, self.order = {}, collections.deque()

    def ask(self, what, question, timeout, tries=None):
        """Asks the node that answered last, and then the others."""
        body = None if question is None else json.dumps(question).encode()
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        for left in reversed(range(tries or len(self.nodes))):
            node = self.nodes[self.asked % len(self.nodes)]
            try:
                request = urllib.request.Request(f"{node}/api/v1/checker/{what}", body, headers)
                with urllib.request.urlopen(request, timeout=timeout) as answer:
                    return json.loads(answer.read() or b"null")
            except (OSError, ValueError, http.client.HTTPException):
                self.asked += 1
                if not left:
                    raise
