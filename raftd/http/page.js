// The node draws the page; this only asks for it again, once a second, and puts the new one in the old one's place.
"use strict";
{
  const EVERY_MS = 1000, PATIENCE_MS = 3000;
  const stale = document.getElementById("stale");
  let answeredAt = Date.now();

  async function fetchPage() {
    const answer = await fetch(location.pathname, { cache: "no-store", signal: AbortSignal.timeout(PATIENCE_MS) });
    if (!answer.ok) throw new Error(`HTTP ${answer.status}`);
    return new DOMParser().parseFromString(await answer.text(), "text/html");
  }

  function show(page) {
    const fresh = page.getElementById("live"), shown = document.getElementById("live");
    if (fresh === null) throw new Error("no status page");
    const scrolled = shown.querySelector(".events").scrollTop;
    shown.replaceWith(document.adoptNode(fresh));
    fresh.querySelector(".events").scrollTop = scrolled;
    document.title = page.title;
  }

  async function turn() {
    // Whoever marks text to copy it wants to keep it; a tab that nobody sees asks for nothing.
    if (!document.hidden && getSelection().isCollapsed) {
      try {
        show(await fetchPage());
        answeredAt = Date.now();
        stale.hidden = true;
      } catch {
        const seconds = Math.round((Date.now() - answeredAt) / 1000);
        stale.textContent = `This node has not answered for ${seconds} s: what is shown is as old as that.`;
        stale.hidden = false;
      }
    }
    setTimeout(turn, EVERY_MS);
  }
  setTimeout(turn, EVERY_MS);
}
