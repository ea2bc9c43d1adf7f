// A tab that is open when its session ends says so, instead of waiting for the next click.
//
// The server tells it through /session/events. Over HTTP/1.1 a browser opens six connections to a host and no more, so
// of all tabs of a session one listens, the one that holds the lock, and tells the others.

"use strict";

{
  const session = document.body.dataset.session;
  const channelName = `kerria-session-events-${session}`;
  const channel = window.BroadcastChannel ? new BroadcastChannel(channelName) : null;
  const firstDelay = 1_000;
  const longestDelay = 30_000;

  let over = false;
  let quietUntil = 0;

  // Here and in every other tab.
  const end = () => {
    channel?.postMessage("ended");
    endHere();
  };

  const endHere = () => {
    if (over) return;
    over = true;
    // A form that ends the session itself, such as "Sign out", is about to replace this page.
    setTimeout(say, Math.max(0, quietUntil - Date.now()));
  };

  const say = () => {
    document.body.append(document.getElementById("session-ended").content.cloneNode(true));
    const dialog = document.body.lastElementChild;
    const signIn = dialog.querySelector("a");
    signIn.href = `/sign-in?return_to=${encodeURIComponent(location.pathname + location.search)}`;

    // Not `disabled`: Firefox would remember it when the page is loaded again.
    for (const button of document.querySelectorAll("form button")) button.setAttribute("aria-disabled", "true");
    document.addEventListener("submit", (event) => {
      event.preventDefault();
      signIn.focus();
    });

    // Escape uncovers the page, so that what was typed can be saved; the message stays beside it.
    dialog.addEventListener("close", () => dialog.show(), { once: true });
    dialog.showModal();
  };

  // Asks whether the session still stands. No answer, or one that the server is not sure of, is not an end.
  const ask = async () => {
    try {
      const answer = await fetch("/api/v1/session", { credentials: "same-origin", cache: "no-store" });
      if (answer.status === 401) end();
    } catch {
      // The server restarts, or the network is away.
    }
  };

  // Listens until the session is over, the stream breaks or `signal` says stop. Resolves to whether it had opened.
  const listen = (signal) => new Promise((resolve) => {
    const source = new EventSource("/session/events");
    let opened = false;
    const stop = () => {
      source.close();
      resolve(opened);
    };
    source.addEventListener("open", () => { opened = true; });
    source.addEventListener("ended", () => { end(); stop(); });
    source.addEventListener("error", stop);
    signal?.addEventListener("abort", stop);
  });

  const pause = (milliseconds, signal) => new Promise((resolve) => {
    setTimeout(resolve, milliseconds);
    signal?.addEventListener("abort", resolve);
    addEventListener("online", resolve, { once: true });
  });

  // An EventSource does not say why it broke, and gives up for good on some answers. So each round asks, waits and
  // opens another. Many tabs of many people lose a server at the same time: they come back spread out.
  const watch = async (signal) => {
    let delay = firstDelay;
    while (!over && !signal?.aborted) {
      const opened = await listen(signal);
      if (over || signal?.aborted) return;
      await ask();
      if (over) return;
      delay = opened ? firstDelay : Math.min(2 * delay, longestDelay);
      await pause(delay * (0.5 + Math.random()), signal);
    }
  };

  // Without locks, tabs cannot agree on who listens. Then the one in sight does.
  const watchWhileVisible = () => {
    let hidden = new AbortController();
    const turn = () => {
      hidden.abort();
      hidden = new AbortController();
      if (document.visibilityState === "visible") watch(hidden.signal);
    };
    document.addEventListener("visibilitychange", turn);
    turn();
  };

  if (session) {
    channel?.addEventListener("message", endHere);
    document.addEventListener("submit", () => { quietUntil = Date.now() + 3_000; });

    // After sleep, or back from the history, a page may have missed the message.
    document.addEventListener("visibilitychange", () => {
      if (document.visibilityState === "visible" && !over) ask();
    });
    addEventListener("pageshow", (event) => {
      if (event.persisted && !over) ask();
    });

    if (navigator.locks && channel) {
      navigator.locks.request(channelName, () => watch());
    } else {
      watchWhileVisible();
    }
  }
}
