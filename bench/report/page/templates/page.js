"use strict";
(() => {
  const $ = (selector, root = document) => root.querySelector(selector);
  const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];
  /** Builds an element; text is always text, never markup. */
  const h = (name, properties = {}, ...children) => {
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(properties)) {
      if (key in element) element[key] = value; else element.setAttribute(key, value);
    }
    element.append(...children.flat().filter((child) => child !== null && child !== ""));
    return element;
  };
  let parsed = null;
  const data = () => (parsed ??= JSON.parse($("#data").textContent));

  // Copying a command.
  const announce = (text) => { $("#announce").textContent = text; };
  const copy = async (text, button) => {
    try { await navigator.clipboard.writeText(text); } catch {
      const area = h("textarea", { value: text, className: "hidden" });
      (button.closest("dialog") ?? document.body).append(area);
      area.select(); document.execCommand("copy"); area.remove(); button.focus();
    }
    const before = button.dataset.text ?? button.textContent;
    button.dataset.text = before; button.textContent = "Copied";
    announce("The command is in the clipboard");
    setTimeout(() => { button.textContent = before; }, 1500);
  };
  const copier = (text, label = "Copy") => {
    const button = h("button", { type: "button" }, label);
    button.addEventListener("click", () => copy(text, button));
    return button;
  };
  const command = (text) => h("span", { className: "command" }, h("code", {}, text), copier(text));

  // Sorting and filtering the leaderboard.
  const board = $("#board"), body = board.tBodies[0], rows = [...body.rows];
  const value = (row, column, kind) => {
    const text = row.cells[column].dataset.s ?? "";
    return kind === "text" ? text : (text === "" ? NaN : parseFloat(text));
  };
  const settings = [...new Set(rows.map((row) => row.cells[0].dataset.s))];
  const setting = (row) => settings.indexOf(row.cells[0].dataset.s);
  /** Only rows of one setting may be compared: every column but the setting itself is sorted within each. */
  const sort = (head, column) => {
    const kind = head.dataset.sort === "text" ? "text" : "number";
    const now = head.getAttribute("aria-sort");
    const first = head.dataset.sort === "desc" ? "descending" : "ascending";
    const other = first === "ascending" ? "descending" : "ascending";
    const order = now === first ? other : now === other ? null : first;
    $$("th[aria-sort]", board).forEach((item) => item.removeAttribute("aria-sort"));
    const sorted = [...rows];
    if (order) {
      head.setAttribute("aria-sort", order);
      const sign = order === "ascending" ? 1 : -1;
      sorted.sort((a, b) => {
        if (column > 0 && setting(a) !== setting(b)) return setting(a) - setting(b);
        const x = value(a, column, kind), y = value(b, column, kind);
        if (kind === "text") return sign * x.localeCompare(y, "en", { numeric: true });
        if (Number.isNaN(x) || Number.isNaN(y)) return Number.isNaN(x) - Number.isNaN(y);
        return sign * (x - y);
      });
    }
    body.append(...sorted);
  };
  [...board.tHead.rows[0].cells].forEach((head, column) => {
    if (!head.dataset.sort) return;
    const button = h("button", { type: "button" }, head.textContent);
    button.addEventListener("click", () => sort(head, column));
    head.replaceChildren(button);
  });
  const form = $("#filters");
  const filter = () => {
    const wanted = new FormData(form);
    const words = (wanted.get("text") ?? "").toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of rows) {
      const same = ["channel", "dataset", "model", "checkpoint", "batch_size"].every((name) => {
        const choice = wanted.get(name);
        return !choice || row.dataset[name === "batch_size" ? "batchSize" : name] === choice;
      });
      const loss = !wanted.get("loss") || parseFloat(row.dataset.loss) <= parseFloat(wanted.get("loss")) + 1e-9;
      const pareto = !wanted.get("pareto") || row.dataset.pareto === "1";
      const text = row.textContent.toLowerCase();
      row.hidden = !(same && loss && pareto && words.every((word) => text.includes(word)));
      shown += !row.hidden;
    }
    $("#count").value = `${shown} of ${rows.length} rows`;
  };
  form.hidden = false;
  form.addEventListener("input", filter);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(filter));
  filter();

  // The drawer of a cell.
  const drawer = $("#drawer");
  const list = (pairs) => h("dl", { className: "kv" },
    pairs.map(([key, text]) => [h("dt", {}, key), h("dd", {}, text)]).flat());
  const picture = (name, alt) => {
    const [uri, count] = data().pictures[name];
    const image = h("img", { className: "strip", src: uri, alt });
    image.style.setProperty("--n", count);
    return image;
  };
  const sheets = (entry) => {
    if (!entry.sheet.length) return null;
    const [seed, original, rebuilt, others] = entry.sheet;
    return h("div", {}, h("div", { className: "strips" },
      h("span", {}, `${entry.above ?? "private"}, seed ${seed}`), picture(original, `${entry.above ?? "private images"} of seed ${seed}`),
      h("span", {}, "rebuilt"), picture(rebuilt, `what ${entry.title} rebuilt, seed ${seed}`)),
    others.length ? h("p", { className: "quiet" }, "Beside this page: ", others.map(([other, id]) => [
      h("a", { href: `sheets/${id}.png` }, `seed ${other}`), " "]).flat()) : "");
  };
  const table = (label, heads, lines) => h("div", { className: "scroll", tabIndex: 0, role: "region", "aria-label": label },
    h("table", { "aria-label": label },
      h("thead", {}, h("tr", {}, heads.map((head) => h("th", { scope: "col" }, head)))),
      h("tbody", {}, lines.map((line) => h("tr", {}, line.map((cell) => h("td", {}, cell)))))));
  const say = (item) => Array.isArray(item) ? item.join(", ") : String(item);
  const parameters = (entry, role, plugin) => {
    const given = Object.entries(entry.parameters[role]);
    if (!given.length) return null;
    return table(`Parameters of ${plugin.name}`, ["parameter", "here", "default", "published", "meaning"], given.map(([name, setting]) => {
      const [normal, published, text] = plugin?.defaults[name] ?? ["–", "–", ""];
      return [name, say(setting), say(normal), say(published), text];
    }));
  };
  const claims = (plugin) => plugin.claims.map(([text, source, measured, setting, verdict, why]) => h("div", {},
    h("p", {}, h("strong", {}, text), " ", h("span", { className: "quiet" }, source)),
    list([["measured here", measured], ["setting", setting], ["verdict", `${verdict}: ${why}`]])));
  const about = (entry, key) => {
    const plugin = data().plugins[key];
    return [
      h("h3", {}, `${plugin.role} ${plugin.name}`),
      h("p", {}, plugin.title ? `${plugin.title}: ${plugin.paper}` : "", " ",
        plugin.url ? h("a", { href: plugin.url, rel: "noreferrer" }, plugin.url) : ""),
      parameters(entry, plugin.role, plugin),
      h("p", { className: "quiet" }, plugin.notes), ...claims(plugin),
    ];
  };
  // The chart of a setting with axes of the reader's choice; the drawn figure is the first choice.
  const SIDES = { "o": 24, "s": 4, "D": 4, "p": 5, "^": 3, "v": 3, "<": 3, ">": 3 };
  const TURNS = { "s": 45, "v": 60, "<": -90, ">": 90 };
  const svg = (name, attributes, ...children) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    element.append(...children);
    return element;
  };
  const mark = (shape, x, y, colour) => svg("polygon", { fill: colour, points:
    Array.from({ length: SIDES[shape] }, (_, corner) => {
      const angle = ((TURNS[shape] ?? 0) - 90 + 360 * corner / SIDES[shape]) * Math.PI / 180;
      return `${(x + 5 * Math.cos(angle)).toFixed(1)},${(y + 5 * Math.sin(angle)).toFixed(1)}`;
    }).join(" ") });
  /** Between whole steps of 1, 2 or 5 times a power of ten, with room for a value that is the only one. */
  const scale = ([, , first, last], values) => {
    let low = Math.min(first ?? 0, ...values), high = Math.max(last ?? low, ...values);
    if (high === low) high = low + 1;
    const rough = (high - low) / 5, power = 10 ** Math.floor(Math.log10(rough));
    const step = power * [1, 2, 5, 10].find((times) => times * power >= rough * 0.999);
    low = step * Math.floor(low / step + 1e-9); high = step * Math.ceil(high / step - 1e-9);
    const ticks = Array.from({ length: Math.round((high - low) / step) + 1 }, (_, at) => +(low + at * step).toPrecision(6));
    return { ticks, at: (value) => (value - low) / (high - low) };
  };
  const draw = (chart, [across, up]) => {
    const axis = (name) => chart.axes.find(([own]) => own === name);
    const points = chart.rows.filter(([, , , , values]) => across in values && up in values);
    const [x, y] = [across, up].map((name) => scale(axis(name), points.map(([, , , , values]) => values[name])));
    const [left, right, top, bottom] = [60, 620, 12, 330];
    const px = (value) => left + (right - left) * x.at(value), py = (value) => bottom - (bottom - top) * y.at(value);
    const label = (text, attributes) => svg("text", { "font-size": 12, fill: "#222", ...attributes }, text);
    return svg("svg", { viewBox: "0 0 720 376", role: "img", class: "figure", "aria-label": `${axis(up)[1]} against ${axis(across)[1]}` },
      ...x.ticks.flatMap((tick) => [svg("line", { x1: px(tick), x2: px(tick), y1: top, y2: bottom, stroke: "#e4e4e4" }),
        label(tick, { x: px(tick), y: bottom + 16, "text-anchor": "middle" })]),
      ...y.ticks.flatMap((tick) => [svg("line", { x1: left, x2: right, y1: py(tick), y2: py(tick), stroke: "#e4e4e4" }),
        label(tick, { x: left - 6, y: py(tick) + 4, "text-anchor": "end" })]),
      label(axis(across)[1], { x: (left + right) / 2, y: bottom + 38, "text-anchor": "middle" }),
      label(axis(up)[1], { x: 0, y: 0, "text-anchor": "middle", transform: `translate(14 ${(top + bottom) / 2}) rotate(-90)` }),
      ...points.flatMap(([name, , colour, shape, values]) => [mark(shape, px(values[across]), py(values[up]), colour),
        label(name, { x: px(values[across]) + 8, y: py(values[up]) + 4, "font-size": 11 })]));
  };
  $$("[data-chart]").forEach((place) => {
    const image = $("img", place);
    if (!image) return;
    const chart = data().charts[place.dataset.chart], { first } = data();
    const [across, up] = first.map((chosen, at) => h("select", { "aria-label": at ? "vertical axis" : "horizontal axis" },
      chart.axes.map(([name, title]) => h("option", { value: name, selected: name === chosen }, title))));
    const show = () => {
      $("svg", place)?.remove();
      const chosen = [across.value, up.value];
      image.hidden = $("figcaption", place).hidden = chosen.join() !== first.join();
      if (image.hidden) image.after(draw(chart, chosen));
    };
    [across, up].forEach((select) => select.addEventListener("change", show));
    $("figure", place).prepend(h("div", { className: "pick" }, h("label", {}, "across ", across), h("label", {}, "up ", up)));
  });
  const RECORD = ["seed", "id", "key", "status", "values", "accuracy", "commit", "finished", "seconds", "memory", "version"];
  const fill = (id) => {
    const all = data(), entry = all.entries[id];
    const close = h("button", { type: "button", "aria-label": "Close" }, "Close");
    close.addEventListener("click", () => drawer.close());
    const choose = h("select", { "aria-label": "Attack" },
      entry.others.map(([key, name]) => h("option", { value: key, selected: key === id }, name)));
    choose.addEventListener("change", () => { show(choose.value); $("select", drawer).focus(); });
    const flags = [...new Set(entry.flags)];
    const records = entry.records.map((values) => Object.fromEntries(RECORD.map((name, at) => [name, values[at]])));
    const done = records.filter((record) => record.status === "done");
    const commits = [...new Set(records.map((record) => record.commit).filter(Boolean))];
    $("#drawer-body").replaceChildren(...[
      h("div", { className: "bar" }, h("div", {},
        h("h2", { id: "drawer-title" }, `${entry.title} on ${entry.defense}`),
        h("p", { className: "quiet" }, entry.group)), close),
      h("div", { className: "pick" }, h("label", {}, "attack ", choose),
        entry.strongest ? h("span", { className: "badge" }, "strongest of its row") : "",
        entry.floor ? h("span", { className: "badge" }, entry.floorName ?? "floor") : "",
        entry.badge ? h("span", { className: `badge ${entry.badge}`, title: all.badges[entry.badge] }, entry.badge) : ""),
      entry.failures ? h("p", { className: "problem" }, entry.failures) : null,
      sheets(entry),
      h("h3", {}, "Measured"),
      list([...entry.scores, [entry.counted ?? "releases/images", entry.images], [`evaluations per ${entry.per ?? "release"}`, entry.evaluations],
        ["accuracy of the victim", entry.accuracy]]),
      done.length > 1 ? table("Seed by seed", ["seed", "accuracy %", ...entry.heads], done.map((record) => [
        record.seed, record.accuracy, ...record.values])) : null,
      flags.length ? h("ul", {}, flags.map((flag) => h("li", {}, h("span", { className: "flag" }, flag), ` ${all.flags[flag]}`))) : null,
      h("h3", {}, "Threat model"), list(entry.threat),
      ...entry.plugins.flatMap((key) => about(entry, key)),
      h("h3", {}, "Measure it again"),
      ...(commits.length ? [h("p", { className: "quiet" }, `Measured at commit ${commits.join(", ")}.`)] : []),
      command(entry.command), command(all.comparison),
      h("h3", {}, "Provenance"),
      table("Records", ["seed", "cell", "status", "commit", "finished", "seconds", "MB"], records.map((record) => [
        record.seed, record.id, record.status, record.commit || "–", record.finished || "–", record.seconds, record.memory])),
      list([...new Set(records.map((record) => all.versions[record.version]))].map((text) => ["versions", text])),
      list(records.map((record) => [`key, seed ${record.seed}`, h("code", {}, record.key)])),
    ].filter((item) => item !== null));
    $("#drawer").scrollTop = 0;
  };
  const show = (id) => {
    fill(id);
    history.replaceState(null, "", `#cell-${id}`);
    if (!drawer.open) drawer.showModal();
  };
  drawer.addEventListener("close", () => history.replaceState(null, "", location.pathname + location.search));
  drawer.addEventListener("click", (event) => { if (event.target === drawer) drawer.close(); });
  const opener = (id, label, className) => {
    const button = h("button", { type: "button", className, "aria-haspopup": "dialog" }, label);
    button.addEventListener("click", () => show(id));
    return button;
  };
  $$("td[data-entry], th[data-entry]").forEach((cell) => {
    const button = opener(cell.dataset.entry, "", "open");
    button.replaceChildren(...cell.childNodes);
    cell.replaceChildren(button);
  });
  $$(".actions[data-entry]").forEach((place) => place.append(
    opener(place.dataset.entry, place.dataset.details, "main"), copier(place.dataset.command, "Copy command")));
  $$(".command").forEach((place) => place.append(copier($("code", place).textContent)));
  const linked = () => {
    const part = document.getElementById(location.hash.slice(1) || "answers");
    if (part?.matches("details")) part.open = true;
    const id = location.hash.match(/^#cell-([0-9a-f]{16})$/)?.[1];
    if (id && id in data().entries) show(id);
  };
  addEventListener("hashchange", linked);
  linked();
  // Paper has no scripts and no closed parts.
  addEventListener("beforeprint", () => $$("details:not([open])").forEach((item) => { item.open = true; item.dataset.printed = ""; }));
  addEventListener("afterprint", () => $$("details[data-printed]").forEach((item) => { item.open = false; delete item.dataset.printed; }));
})();
