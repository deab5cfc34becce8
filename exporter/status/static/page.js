// Fetches the page again, on a timer and when a filter changes, and replaces the old table with the new one.
// Without this script the form and the links do the same, page by page, because the server sorts and filters.
"use strict";

(() => {
  const EVERY = 15_000;
  const PATIENCE = 10_000;
  const form = document.getElementById("filter");
  const trouble = document.getElementById("trouble");
  const pause = document.getElementById("pause");
  let wanted = location.search;
  let running = null;
  let typing = 0;

  const board = () => document.getElementById("board");
  const isPaused = () => pause.getAttribute("aria-pressed") === "true";

  // A refresh would remove the text that someone is about to copy.
  function isSelecting() {
    const selection = getSelection();
    return !selection.isCollapsed && board().contains(selection.anchorNode);
  }

  function asked() {
    const fields = [...new FormData(form)].filter(([name, value]) => value && !(name === "sort" && value === "attention"));
    return fields.length ? "?" + new URLSearchParams(fields) : "";
  }

  function show(fresh) {
    const focused = document.activeElement;
    for (const name of ["provider", "sort", "severity"]) {
      if (form.elements[name] !== focused) form.elements[name].replaceWith(fresh.getElementById("filter").elements[name]);
    }
    board().replaceWith(fresh.getElementById("board"));
    if (focused.id && !focused.isConnected) document.getElementById(focused.id)?.focus({ preventScroll: true });
    document.title = fresh.title;
    trouble.textContent = "";
  }

  async function load(search, isRefresh = false) {
    wanted = search;
    running?.abort();
    const request = (running = new AbortController());
    const timer = setTimeout(() => request.abort(new Error("no response within 10 s")), PATIENCE);
    try {
      // Not a relative address, because fetch refuses one if the address of the page has a password in it.
      const response = await fetch(location.origin + location.pathname + search, { signal: request.signal });
      if (!response.ok) throw new Error(`the exporter returns ${response.status}`);
      const fresh = new DOMParser().parseFromString(await response.text(), "text/html");
      if (!fresh.getElementById("board")) throw new Error("another program serves this address");
      if (request !== running || (isRefresh && isSelecting())) return;
      show(fresh);
      history.replaceState(null, "", location.pathname + search);
    } catch (error) {
      if (request !== running) return;
      const why = error instanceof TypeError ? "the exporter cannot be reached" : error.message;
      trouble.textContent = `This page is out of date (${why}). Trying again.`;
    } finally {
      clearTimeout(timer);
    }
  }

  function refresh() {
    if (!document.hidden && !isPaused() && !isSelecting()) load(wanted, true);
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    load(asked());
  });
  form.addEventListener("change", (event) => {
    if (event.target.name !== "q") load(asked());
  });
  form.elements.q.addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(() => load(asked()), 150);
  });
  document.addEventListener("click", (event) => {
    const link = event.target.closest("#board a");
    if (!link || link.pathname !== location.pathname || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
    event.preventDefault();
    if (link.id === "show-every") form.elements.q.value = "";
    load(link.search);
  });
  pause.addEventListener("click", () => {
    pause.setAttribute("aria-pressed", String(!isPaused()));
    refresh();
  });
  document.addEventListener("visibilitychange", refresh);
  setInterval(refresh, EVERY);

  document.getElementById("apply").hidden = true;
  pause.hidden = false;
})();
