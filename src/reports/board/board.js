"use strict";
// Texts of tasks become text nodes, never markup; the only links are fragments that are made of ids.
(() => {
  const STATUSES = ["open", "in_progress", "blocked", "completed", "cancelled", "archived"];
  const CLOSED = new Set(["completed", "cancelled", "archived"]);
  const FILTERS = ["owner", "type", "label"];
  const PIECE = 100;
  const THEMES = ["", "light", "dark"];
  const RETRY = { first: 1000, last: 30000 };
  const QUIET = 500;

  const root = document.documentElement;
  const $ = (id) => document.getElementById(id);
  root.classList.add("js");
  // A page in a file may have no storage.
  const storage = { get: () => { try { return localStorage.getItem("agentpm-theme"); } catch { return null; } },
    set: (theme) => { try { localStorage.setItem("agentpm-theme", theme); } catch { /* kept for this page only */ } } };
  const setTheme = (theme) => { if (theme) root.dataset.theme = theme; else delete root.dataset.theme; };
  setTheme(storage.get());

  let data = { tasks: [] };
  let byId = new Map();
  let children = new Map();
  let waiting = new Map();
  // It comes with the page as markup in which all texts are escaped.
  let graph;
  let lists = "";
  let typed;
  let isStepping = false;
  const pieces = new Map();

  function read(text) {
    data = JSON.parse(text);
    byId = new Map(data.tasks.map((task) => [task.id, task]));
    [children, waiting] = [new Map(), new Map()];
    const add = (map, key, task) => map.get(key)?.push(task) ?? map.set(key, [task]);
    for (const task of data.tasks) {
      if (task.parent) add(children, task.parent, task);
      for (const blocker of task.blocked_by ?? []) add(waiting, blocker, task);
    }
    for (const name of FILTERS) options(name);
  }

  // ---- elements

  function el(tag, classes, ...content) {
    const node = document.createElement(tag);
    if (classes) node.className = classes;
    node.append(...content.flat().filter((part) => part !== null && part !== undefined && part !== ""));
    return node;
  }
  const words = (name) => name.replaceAll("_", " ");
  const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);
  const counted = (n, noun) => `${n} ${noun}${n === 1 ? "" : "s"}`;

  function link(id, classes, ...content) {
    const node = el("a", classes, ...content);
    node.href = `#t-${id}`;
    return node;
  }

  /** A task as a reference: its handle and title. */
  function reference(id) {
    const task = byId.get(id);
    if (!task) return el("span", "handle", id);
    return el("span", task.status, link(id, "handle", task.handle), ` ${task.title ?? ""} `, el("small", "word", words(task.status)));
  }

  function time(text) {
    const node = el("time", "", text);
    node.dateTime = text;
    return node;
  }

  /** How far off a time is, by the clock of the reader. */
  function away(text) {
    const minutes = Math.round((Date.parse(text) - Date.now()) / 60000);
    const [n, unit] = Math.abs(minutes) < 120 ? [minutes, "min"] : Math.abs(minutes) < 2880 ? [Math.round(minutes / 60), "h"]
      : [Math.round(minutes / 1440), "days"];
    return n < 0 ? `${-n} ${unit} ago` : `in ${n} ${unit}`;
  }

  // ---- the address: #t-ID, #graph, #held, or the filters of the board

  function route() {
    const hash = location.hash.slice(1);
    if (hash.startsWith("t-")) return { view: "task", id: hash.slice(2) };
    if (hash === "graph" || hash === "held") return { view: hash };
    const asked = new URLSearchParams(hash);
    const filters = Object.fromEntries(["q", ...FILTERS].map((name) => [name, asked.get(name) ?? ""]));
    return { view: "board", filters };
  }

  function address(filters) {
    const given = Object.entries(filters).filter(([, value]) => value);
    return `#${new URLSearchParams(given)}`;
  }

  function go(hash, isTyped = false) {
    if (hash === location.hash || (hash === "#" && location.hash === "")) show();
    // A word that is typed letter by letter is one entry of the browser's history.
    else if (isTyped) location.replace(hash);
    else location.hash = hash;
  }

  // ---- the board

  function haystack(task) {
    task.hay ??= [task.title, task.owner, task.type, task.intent, task.lease?.agent, ...(task.labels ?? []),
      ...(task.acceptance ?? []).map((one) => one.criterion)].filter(Boolean).join("\n").toLowerCase();
    return task.hay;
  }

  /** Whether a word is the beginning or the end of an id, long enough to be meant as one. */
  const isPart = (id, word) => word.length >= 4 && (id.startsWith(word) || id.endsWith(word));

  function matches(filters) {
    const asked = filters.q.toLowerCase().split(/\s+/).filter(Boolean);
    return (task) => (!filters.owner || task.owner === filters.owner) && (!filters.type || task.type === filters.type)
      && (!filters.label || (task.labels ?? []).includes(filters.label))
      && asked.every((word) => haystack(task).includes(word) || isPart(task.id.toLowerCase(), word));
  }

  function card(task) {
    const chips = [
      el("span", "handle", task.handle),
      task.ready ? "ready" : null,
      task.priority ? `priority ${task.priority}` : null,
      task.lease ? `held by ${task.lease.agent}` : task.owner,
      task.blocked_by_count ? `waits for ${task.blocked_by_count}` : null,
      task.progress?.total ? `steps ${task.progress.done}/${task.progress.total}` : null,
      task.child_progress?.total ? `parts ${task.child_progress.done}/${task.child_progress.total}` : null,
      task.open_threads ? counted(task.open_threads, "open thread") : null,
      task.due && !CLOSED.has(task.status) ? `due ${task.due}` : null,
    ].filter(Boolean).map((chip) => (typeof chip === "string" ? el("span", "", chip) : chip));
    const labels = (task.labels ?? []).map((label) => el("span", "label", label));
    return el("li", "", link(task.id, `card ${task.status}`, el("strong", "", task.title ?? ""), el("span", "chips", chips, labels)));
  }

  function button(text, act) {
    const node = el("button", "", text);
    node.type = "button";
    node.addEventListener("click", act);
    return node;
  }

  /** A column renders its cards piece by piece, and one of closed tasks none before they are asked for. */
  function column(status, tasks, isSearch) {
    const head = el("h2", "", capital(words(status)), " ", el("span", "", String(tasks.length)));
    const node = el("section", `column ${status}`, head);
    const most = pieces.get(status) ?? (CLOSED.has(status) && !isSearch ? 0 : PIECE);
    node.append(el("ul", "", tasks.slice(0, most).map(card)));
    const left = tasks.length - most;
    if (left > 0) {
      node.append(button(most ? `Show more (${left} left)` : `Show ${counted(left, "task")}`, () => {
        pieces.set(status, most + PIECE);
        node.replaceWith(column(status, tasks, isSearch));
      }));
    }
    return node;
  }

  function board(filters) {
    const wanted = data.tasks.filter(matches(filters));
    const isSearch = Object.values(filters).some(Boolean);
    const of = (status) => wanted.filter((task) => task.status === status);
    const columns = STATUSES.map((status) => [status, of(status)]);
    const shown = columns.filter(([status, tasks]) => tasks.length || !CLOSED.has(status));
    return el("div", "columns", shown.map(([status, tasks]) => column(status, tasks, isSearch)));
  }

  function options(name) {
    const of = (task) => (name === "label" ? task.labels ?? [] : [task[name]]);
    const all = [...new Set(data.tasks.flatMap(of).filter(Boolean))].sort();
    const option = (value, text) => {
      const node = el("option", "", text);
      node.value = value;
      return node;
    };
    $(name).replaceChildren(option("", `any ${name}`), ...all.map((value) => option(value, value)));
  }

  // ---- the page of a task

  function section(title, ...content) {
    const parts = content.flat().filter(Boolean);
    return parts.length ? el("section", "", el("h2", "", title), parts) : null;
  }

  function rows(entries, row) {
    return entries?.length ? el("ul", "", entries.map(row)) : null;
  }

  function fields(task) {
    const plain = (value) => (typeof value === "string" ? value : JSON.stringify(value));
    const list = (value) => (Array.isArray(value) ? value.map(plain).join(", ") : plain(value));
    const elsewhere = new Set(["id", "handle", "title", "intent", "status", "acceptance", "progress", "context", "relationships",
      "threads", "history", "lease", "lease_holder", "blocked_by", "left_out", "branches", "parent", "hay", "open_threads"]);
    const shown = Object.entries(task).filter(([name]) => !elsewhere.has(name));
    const all = [["id", task.id], ...shown.map(([name, value]) => [name, value?.total === undefined ? list(value) : `${value.done}/${value.total}`])];
    return el("dl", "fields", all.flatMap(([name, value]) => [el("dt", "", words(name)), el("dd", "", value)]));
  }

  function relations(task) {
    const others = (task.relationships ?? []).filter((edge) => edge.type === "relates_to" || edge.type === "duplicates");
    const group = (title, ids, total = ids.length) => {
      const [named, more] = [ids.slice(0, PIECE), total - Math.min(ids.length, PIECE)];
      const items = named.map((id) => el("li", "", reference(id)));
      return total ? [el("li", "faint", title), ...items, more > 0 ? el("li", "faint", `${more} more`) : null] : [];
    };
    const ids = (map) => (map.get(task.id) ?? []).map((one) => one.id);
    const items = [
      ...group("Part of", task.parent ? [task.parent] : []),
      ...group("Waits for", task.blocked_by ?? [], task.blocked_by_count ?? 0),
      ...group("Is waited for by", ids(waiting)),
      ...group("Parts", ids(children)),
      ...others.flatMap((edge) => group(capital(words(edge.type)), [edge.to])),
    ];
    return items.length ? el("ul", "", items) : null;
  }

  function context(entry) {
    const state = entry.redacted ? ", redacted" : entry.superseded_by ? ", superseded" : "";
    return el("li", state ? "past" : "", el("small", "", words(entry.type), state, ` by ${entry.author}, `, time(entry.created_at)),
      el("div", "text", entry.content ?? ""));
  }

  function message(one, classes) {
    return el("div", classes, el("small", "", `${one.author}, `, time(one.created_at)), el("div", "text", one.body ?? ""),
      one.patch ? el("div", "text", `proposes ${JSON.stringify(one.patch)}`) : null);
  }

  function thread(one) {
    const end = one.resolution;
    return el("li", end ? "past" : "", el("div", "", el("span", "handle", one.handle), ` ${one.status}`),
      message(one, ""), (one.messages ?? []).map((answer) => message(answer, "message")),
      end ? el("small", "", `${one.status} by ${end.by}, `, time(end.at), end.why ? `: ${end.why}` : "") : null,
      one.left_out?.messages ? el("small", "", `${counted(one.left_out.messages, "earlier message")} not shown`) : null);
  }

  function leftOut(task) {
    const all = Object.entries(task.left_out ?? {});
    const one = ([name, n]) => (name.endsWith("_bytes") ? `${n} bytes of ${words(name.slice(0, -6))}` : `${n} of ${words(name)}`);
    return all.length ? el("p", "faint", `Not shown here: ${all.map(one).join(", ")}. agentpm show ${task.handle} --full shows all.`) : null;
  }

  function page(task) {
    const held = task.lease && el("p", "", `Held by ${task.lease.agent} until `, time(task.lease.expires_at), ` (${away(task.lease.expires_at)})`);
    const branch = (one) => el("li", "", `${one.worktree ? "worktree" : "branch"} ${one.worktree ?? one.branch}: ${words(one.status)}`,
      one.owner ? ` by ${one.owner}` : "");
    const done = (is) => (is ? "☑ " : "☐ ");
    return el("article", `task ${task.status}`,
      el("div", "", el("span", "handle", task.handle), " ", el("span", "word", words(task.status)), task.ready ? ", ready" : ""),
      el("h1", "", task.title ?? ""), held, leftOut(task),
      section("Intent", task.intent && el("div", "text", task.intent)),
      section("Acceptance", rows(task.acceptance, (one) => el("li", "", done(one.met), one.criterion, one.met_by ? el("small", "", ` ${one.met_by}`) : ""))),
      section("Progress", rows(task.progress?.items, (one) => el("li", "", done(one.completed), one.content))),
      section("Relationships", relations(task)),
      section("Fields", fields(task)),
      section("Context", rows((task.context ?? []).toReversed(), context)),
      section("Threads", rows((task.threads ?? []).toReversed(), thread)),
      section("Elsewhere, by events that are not here", rows(task.branches, branch)),
      section("History, newest first", rows((task.history ?? []).toReversed(),
        (one) => el("li", "", el("small", "", time(one.at)), ` ${one.agent} ${one.deed}`, one.why ? `: ${one.why}` : ""))));
  }

  // ---- other views

  function held() {
    const tasks = data.tasks.filter((task) => task.lease);
    tasks.sort((a, b) => (a.lease.agent < b.lease.agent ? -1 : a.lease.agent > b.lease.agent ? 1 : 0));
    if (!tasks.length) return el("p", "", "No task is held.");
    const head = el("tr", "", ["Agent", "Task", "Until", ""].map((name) => el("th", "", name)));
    const row = ({ id, lease }) => el("tr", "", el("td", "", lease.agent), el("td", "", reference(id)), el("td", "", time(lease.expires_at)),
      el("td", "", away(lease.expires_at), lease.elsewhere ? ", in another clone" : ""));
    return el("table", "held", el("thead", "", head), el("tbody", "", tasks.map(row)));
  }

  function show() {
    const at = route();
    const view = $("view");
    for (const one of document.querySelectorAll("nav a")) {
      if (one.dataset.view === at.view) one.setAttribute("aria-current", "page");
      else one.removeAttribute("aria-current");
    }
    let title = "agentpm board";
    if (at.view === "board") {
      lists = location.hash;
      if (document.activeElement !== $("search")) $("search").value = at.filters.q;
      for (const name of FILTERS) $(name).value = at.filters[name];
      view.replaceChildren(board(at.filters));
    } else if (at.view === "task") {
      const task = byId.get(at.id);
      title = task ? `${task.handle} ${task.title ?? ""}` : title;
      view.replaceChildren(task ? page(task) : el("p", "", "There is no such task on this board."));
    } else if (at.view === "held") {
      view.replaceChildren(held());
    } else {
      view.replaceChildren(graph);
    }
    document.title = title;
    if (isStepping) step(1);
    isStepping = false;
  }

  // ---- keys and buttons

  function step(by) {
    const cards = [...document.querySelectorAll("#view a.card, #view .held a")];
    const now = cards.indexOf(document.activeElement);
    const next = now < 0 ? (by > 0 ? 0 : cards.length - 1) : Math.min(Math.max(now + by, 0), cards.length - 1);
    cards[next]?.focus();
  }

  function leave() {
    if (route().view === "board") {
      pieces.clear();
      $("search").value = "";
      go("#");
    } else go(lists || "#");
  }

  const KEYS = {
    "/": () => $("search").focus(),
    j: () => step(1),
    k: () => step(-1),
    b: () => go(lists || "#"),
    g: () => go("#graph"),
    h: () => go("#held"),
    "?": () => $("help").showModal(),
    Escape: leave,
  };

  function onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || $("help").open) return;
    if (event.target.matches?.("input, select")) {
      if (event.key === "Escape" || (event.key === "Enter" && event.target === $("search"))) {
        event.preventDefault();
        event.target.blur();
        if (event.key === "Enter") {
          clearTimeout(typed);
          isStepping = true;
          onFilter();
        }
      }
      return;
    }
    const act = KEYS[event.key];
    if (act) {
      event.preventDefault();
      act();
    }
  }

  function onFilter() {
    const filters = { q: $("search").value.trim(), ...Object.fromEntries(FILTERS.map((name) => [name, $(name).value])) };
    go(address(filters), true);
  }

  function listen() {
    addEventListener("hashchange", show);
    addEventListener("keydown", onKey);
    $("search").addEventListener("input", () => { clearTimeout(typed); typed = setTimeout(onFilter, 80); });
    for (const name of FILTERS) $(name).addEventListener("change", onFilter);
    $("keys").addEventListener("click", () => $("help").showModal());
    $("theme").addEventListener("click", () => {
      const next = THEMES[(THEMES.indexOf(root.dataset.theme ?? "") + 1) % THEMES.length];
      setTheme(next);
      storage.set(next);
    });
  }

  // ---- the live board

  async function reload() {
    const answer = await fetch(location.pathname, { cache: "no-store" });
    if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    read(fresh.getElementById("data").textContent);
    $("summary").textContent = fresh.getElementById("summary").textContent;
    graph = document.adoptNode(fresh.getElementById("picture"));
    const at = document.activeElement?.getAttribute?.("href");
    const [x, y] = [scrollX, scrollY];
    show();
    if (at) [...document.querySelectorAll("#view a")].find((one) => one.getAttribute("href") === at)?.focus({ preventScroll: true });
    scrollTo(x, y);
  }

  const pause = (millis) => new Promise((resume) => setTimeout(resume, millis));

  /** Reads the page again after events, once for many that arrive together, and not while it is hidden. */
  async function follow() {
    let [wait, isFirst, took] = [RETRY.first, true, 0];
    let [due, reading] = [null, Promise.resolve()];
    const again = async () => {
      await pause(Math.max(QUIET, 4 * took));
      if (document.hidden) await new Promise((resume) => { document.addEventListener("visibilitychange", resume, { once: true }); });
      // An event that arrives from here on may be missing in what is read now.
      due = null;
      const begun = performance.now();
      await (reading = reading.catch(() => {}).then(reload));
      took = performance.now() - begun;
    };
    for (;;) {
      try {
        const stream = await fetch("/events/stream", { headers: { accept: "text/event-stream" }, cache: "no-store" });
        if (!stream.ok) throw new Error(`the server answered ${stream.status}`);
        // What happened while there was no connection.
        if (!isFirst) await reload();
        isFirst = false;
        root.classList.remove("stale");
        wait = RETRY.first;
        const reader = stream.body.pipeThrough(new TextDecoderStream()).getReader();
        let rest = "";
        for (;;) {
          const { value, done } = await reader.read();
          if (done) break;
          const lines = (rest + value).split("\n");
          rest = lines.pop();
          if (!lines.some((line) => line.startsWith("data:"))) continue;
          due ??= again().catch(() => reader.cancel());
        }
      } catch { /* it is tried again */ }
      root.classList.add("stale");
      await pause(wait);
      wait = Math.min(wait * 2, RETRY.last);
    }
  }

  addEventListener("DOMContentLoaded", () => {
    graph = $("picture");
    read($("data").textContent);
    listen();
    show();
    if (data.live) follow();
  });
})();
