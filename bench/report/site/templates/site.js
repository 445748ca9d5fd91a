"use strict";
(() => {
  const $ = (selector, root = document) => root.querySelector(selector);
  const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];

  // Filters: what is chosen stands in the address, #channel=smashed&word=hides, and comes from there.
  const form = $("#filters"), board = $("#board"), bodies = [...board.tBodies];
  const rows = $$("tbody tr:not(.setting)", board);
  /** What the text filter looks into: the setting's head and the row, without its command. */
  const words = (row) => [row.parentNode.rows[0], ...[...row.cells].slice(0, -1)].map((part) => part.textContent).join(" ");
  const text = new Map(rows.map((row) => [row, words(row).toLowerCase()]));
  const chosen = () => [...new FormData(form)].filter(([, value]) => value.trim());
  /** The undefended row stays beside every row that is shown: it is what they are compared with. */
  const apply = () => {
    const wanted = Object.fromEntries(chosen());
    const terms = (wanted.text ?? "").toLowerCase().split(/\s+/).filter(Boolean);
    const fits = (data, keys) => keys.every((key) => !wanted[key] || data[key] === wanted[key]);
    let shown = 0;
    for (const body of bodies) {
      const own = rows.filter((row) => row.parentNode === body);
      const here = fits(body.dataset, ["dataset", "channel"]);
      const hits = own.filter((row) => here && fits(row.dataset, ["defense", "word"]) && terms.every((word) => text.get(row).includes(word)));
      own.forEach((row) => { row.hidden = !(hits.includes(row) || (hits.length && row.classList.contains("base"))); });
      body.hidden = !hits.length;
      shown += hits.length;
    }
    $("#count").value = `${shown} of ${rows.length} rows`;
    // A column in which nothing is left to read goes.
    const visible = rows.filter((row) => !row.hidden && !row.parentNode.hidden);
    [...board.tHead.rows[0].cells].forEach((head, column) => {
      const gone = visible.length > 0 && visible.every((row) => row.cells[column].classList.contains("none"));
      [head, ...rows.map((row) => row.cells[column])].forEach((cell) => cell.classList.toggle("gone", gone));
    });
  };
  const write = () => {
    const state = new URLSearchParams(chosen()).toString();
    history.replaceState(null, "", state ? `#${state}` : location.pathname + location.search);
    apply();
  };
  const read = () => {
    const hash = location.hash.slice(1);
    if (hash && !hash.includes("=")) return; // a place on the page
    const state = new URLSearchParams(hash);
    for (const field of form.elements) {
      if (!field.name) continue;
      const value = state.get(field.name) ?? "";
      field.value = value;
      if (field.selectedIndex === -1) field.value = ""; // nothing here is called so
    }
    apply();
    if (hash) $("#settings").scrollIntoView();
  };
  form.hidden = false;
  form.addEventListener("input", write);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(write));
  addEventListener("hashchange", read);
  apply();
  read();

  // Commands: one click copies.
  const copy = async (place, button) => {
    try { await navigator.clipboard.writeText(place.textContent); } catch {
      getSelection().selectAllChildren(place);
      document.execCommand("copy");
    }
    button.textContent = "Copied";
    $("#announce").textContent = "The command is in the clipboard";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  };
  for (const place of $$(".repeat code")) {
    const row = place.closest("tr"), button = document.createElement("button");
    button.type = "button";
    button.textContent = "Copy";
    button.setAttribute("aria-label", `Copy the command that repeats ${row.dataset.row} in ${$(".title", row.parentNode).textContent}`);
    button.addEventListener("click", () => copy(place, button));
    place.removeAttribute("tabindex");
    place.title = place.textContent;
    place.after(button);
  }
})();
