// Sorts a table by the column whose heading is clicked, and moves what divides two pictures.
"use strict";

function sorted(table, column, descending) {
  const rows = [...table.tBodies[0].rows];
  const text = (row) => row.cells[column].textContent;
  const value = (row) => Number(text(row).replaceAll(",", ""));
  const numbers = rows.every((row) => text(row) === "-" || !Number.isNaN(value(row)));
  const known = (row) => !numbers || text(row) !== "-";
  const order = (a, b) =>
    numbers ? value(a) - value(b) : text(a).localeCompare(text(b), undefined, { numeric: true });
  const sign = descending ? -1 : 1;
  return [
    ...rows.filter(known).sort((a, b) => sign * order(a, b)),
    ...rows.filter((row) => !known(row)),
  ];
}

for (const table of document.querySelectorAll("table.sortable")) {
  const headings = [...table.tHead.rows[0].cells];
  headings.forEach((heading, column) => {
    const button = document.createElement("button");
    button.textContent = heading.textContent;
    button.addEventListener("click", () => {
      const descending = heading.getAttribute("aria-sort") === "ascending";
      headings.forEach((each) => each.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
      table.tBodies[0].append(...sorted(table, column, descending));
    });
    heading.replaceChildren(button);
  });
}

for (const input of document.querySelectorAll("input[type=range]")) {
  const move = () => input.previousElementSibling.style.setProperty("--at", `${input.value}%`);
  input.addEventListener("input", move);
}
