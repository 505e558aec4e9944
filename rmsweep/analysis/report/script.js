"use strict";
// Tables that sort and filter. Without this script the page reads the same, unsorted.
const LEAST_TO_FILTER = 4, MOST_CHOICES = 24;

// What a cell sorts by; null, which comes last either way, where it has no value.
function value(cell) {
  const text = cell.dataset.order ?? cell.textContent.trim();
  if (text === "" || text === "-" || text === "n/a") return null;
  const number = Number(text.replaceAll(",", ""));
  return Number.isNaN(number) ? text : number;
}

function compare(a, b) {
  if (typeof a === "number" && typeof b === "number") return a - b;
  return String(a).localeCompare(String(b), "en", { numeric: true });
}

function sort(table, column, direction) {
  const body = table.tBodies[0];
  const lines = Array.from(body.rows, (row, i) => ({ row, i, value: value(row.cells[column]) }));
  lines.sort((a, b) => {
    if (a.value === null || b.value === null) {
      return (a.value === null) - (b.value === null) || a.i - b.i;
    }
    return direction * compare(a.value, b.value) || a.i - b.i;
  });
  body.append(...lines.map((line) => line.row));
  for (const head of table.tHead.rows[0].cells) head.removeAttribute("aria-sort");
  const words = direction > 0 ? "ascending" : "descending";
  table.tHead.rows[0].cells[column].setAttribute("aria-sort", words);
}

function makeSortable(table) {
  Array.from(table.tHead.rows[0].cells).forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    button.addEventListener("click", () => {
      sort(table, column, head.getAttribute("aria-sort") === "ascending" ? -1 : 1);
    });
    head.append(button);
  });
}

function choices(table, column) {
  const found = new Set(Array.from(table.tBodies[0].rows, (row) => row.cells[column].textContent));
  return found.size > 1 && found.size <= MOST_CHOICES ? [...found] : [];
}

function addSelect(tools, name, options) {
  const label = document.createElement("label");
  const select = document.createElement("select");
  select.add(new Option("all", ""));
  options.forEach((text, i) => select.add(new Option(text, String(i))));
  label.append(`${name} `, select);
  tools.insertBefore(label, tools.querySelector("output"));
  return select;
}

function makeFilterable(table, tools) {
  const rows = Array.from(table.tBodies[0].rows);
  if (rows.length < LEAST_TO_FILTER) return;
  const texts = new Map(rows.map((row) => [row, row.textContent.toLowerCase()]));
  const search = tools.querySelector("input"), said = tools.querySelector("output");
  const selects = [];
  Array.from(table.tHead.rows[0].cells).forEach((head, column) => {
    const options = "choices" in head.dataset ? choices(table, column) : [];
    if (options.length) {
      const name = head.textContent.trim().toLowerCase();
      selects.push({ column, options, select: addSelect(tools, name, options) });
    }
  });
  const filter = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const chosen = selects.filter(({ select }) => select.value !== "");
    let shown = 0;
    for (const row of rows) {
      const matches = words.every((word) => texts.get(row).includes(word)) &&
        chosen.every((c) => row.cells[c.column].textContent === c.options[c.select.value]);
      row.hidden = !matches;
      shown += matches;
    }
    const all = rows.length.toLocaleString("en");
    said.textContent = shown < rows.length ? `${shown.toLocaleString("en")} of ${all} lines` : "";
  };
  tools.addEventListener("input", filter);
  tools.hidden = false;
}

for (const table of document.querySelectorAll("table[data-sortable]")) {
  makeFilterable(table, document.querySelector(`.tools[data-for="${table.id}"]`));
  makeSortable(table);
}

// On paper nothing can be opened.
let closed = [];
addEventListener("beforeprint", () => {
  closed = [...document.querySelectorAll("details:not([open])")];
  for (const part of closed) part.open = true;
});
addEventListener("afterprint", () => {
  for (const part of closed) part.open = false;
});
